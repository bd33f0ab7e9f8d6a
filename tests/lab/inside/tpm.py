"""Sends the TPM what it is given, in base64, and prints what it answers to each: 00000000 where it did it."""

import base64
import os
import sys


def main() -> None:
    for given in sys.argv[1:]:
        device = os.open("/dev/tpmrm0", os.O_RDWR)
        os.write(device, base64.b64decode(given))
        print(os.read(device, 4096)[6:10].hex())
        os.close(device)


main()
