"""Routes that policy serves by way of this host: a second wrap to a key of its own, until an archive has the image."""
