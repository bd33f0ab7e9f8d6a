from hypothesis import settings

settings.register_profile("formats", max_examples=60, deadline=None)
settings.load_profile("formats")
