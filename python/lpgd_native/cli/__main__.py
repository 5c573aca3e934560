"""``python -m lpgd_native.cli``, for ``torchrun -m``."""

from lpgd_native.cli import main

raise SystemExit(main())
