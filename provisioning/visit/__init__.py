"""One visit to one scanner room: its steps in order, and what each of them said."""
