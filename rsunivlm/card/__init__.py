"""Model cards: `README.md` of a checkpoint folder, computed from what lies in it, nothing invented."""
