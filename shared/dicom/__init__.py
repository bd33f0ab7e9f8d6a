"""The DICOM upper layer and DIMSE as bytes, without I/O: the host receives with it, both sides send with it."""
