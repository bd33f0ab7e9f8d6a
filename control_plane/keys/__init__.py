"""The centre's keys: made once, private parts at rest only under the root key, recoverable from two of three shares."""
