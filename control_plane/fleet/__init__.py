"""The fleet as the centre reaches it over MQTT: its own broker, and its own client of that broker."""
