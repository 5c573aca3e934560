"""Standing checks of what docs/reliability.md claims: `make reliability` runs each as a module."""
