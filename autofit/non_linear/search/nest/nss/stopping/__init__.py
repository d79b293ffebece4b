"""What ends or holds up a run: signals, a device that stands still, other processes. Never pictures or evidences."""
