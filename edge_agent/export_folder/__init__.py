"""The way in for modalities that export files: their folder is watched, and every image in it is captured."""
