"""What clipalign is put through: broken inputs, kills, full disks, long runs. ``python -m tests.hardening --help``."""
