"""Wipes at the centre: orders, their approval, and what hosts prove of them."""
