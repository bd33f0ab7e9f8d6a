"""What a self-test phantom is marked by, so that nobody takes it for a patient's image and no patient's for a phantom.

The marks are values of attributes that every image has (PS3.3 C.7.1.1) and one that says just this: Quality Control
Image (0028,0300), YES for a phantom.
"""

AE_TITLE = "LEADGLASS-TEST"
"""The calling AE title of a self-test; policy admits it like a modality's, and nothing else makes a phantom."""

PATIENT_ID = "LEADGLASS-SELF-TEST"
PATIENT_NAME = "SELF-TEST^NO PATIENT"
QUALITY_CONTROL_IMAGE = "YES"
MAX_BYTES = 1 << 20
