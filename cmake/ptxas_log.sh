#!/bin/sh
# A compiler launcher: runs nvcc (the arguments) and keeps what ptxas says of every kernel beside the
# object file, as <object>.ptxas. tools/cuda_resources.py reads it. Everything else goes to stderr.
object= previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
"$@" 2> "$object.stderr"
status=$?
kept='^ptxas info|^ *[0-9]+ bytes (stack frame|gmem)|^ptxas \.'
grep -E "$kept" "$object.stderr" > "$object.ptxas"
grep -vE "$kept" "$object.stderr" >&2
rm -f "$object.stderr"
exit $status
