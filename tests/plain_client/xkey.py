"""Curve xkeys and Keywheel's key text, written from their descriptions alone: a second opinion on both encodings."""

import base64
import binascii
import re
import zlib

from nacl.public import Box, PrivateKey, PublicKey

CURVE_PREFIX = 23 << 3  # the first base32 letter becomes an X
SEALED_MAGIC = b"xkv1"
NONCE_BYTES = 24
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_SHAPE = re.compile(r"kw_live_([0-9A-Za-z]{10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")


def encode_public(public: PublicKey) -> str:
    """The public xkey text: base32 of prefix, 32 bytes and a little-endian CRC-16, unpadded."""
    raw = bytes([CURVE_PREFIX]) + bytes(public)
    return base64.b32encode(raw + _crc16(raw)).decode().rstrip("=")


def decode_public(text: str) -> PublicKey:
    """The curve key in a public xkey text; refuses a wrong prefix, length or checksum."""
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    body, checksum = raw[:-2], raw[-2:]
    if len(body) != 33 or body[0] != CURVE_PREFIX:
        raise ValueError(f"not a public curve xkey: {text}")
    if checksum != _crc16(body):
        raise ValueError(f"wrong checksum in xkey {text}")
    return PublicKey(body[1:])


def decode_seed(text: str) -> PrivateKey:
    """The secret curve key in a seed text (`SX…`): two prefix bytes, 32 bytes, CRC-16."""
    raw = base64.b32decode(text + "=" * (-len(text) % 8))
    if raw[-2:] != _crc16(raw[:-2]) or len(raw) != 36:
        raise ValueError("wrong checksum or length in a seed")
    return PrivateKey(raw[2:-2])


def open_sealed(sealed: bytes, recipient: PrivateKey, sender: str) -> bytes:
    """Opens `xkv1` + nonce + box, sealed by `sender` (a public xkey) to `recipient`."""
    if not sealed.startswith(SEALED_MAGIC):
        raise ValueError(f"a sealed secret begins with {SEALED_MAGIC!r}, this one with {sealed[:4]!r}")
    nonce = sealed[len(SEALED_MAGIC) : len(SEALED_MAGIC) + NONCE_BYTES]
    return Box(recipient, decode_public(sender)).decrypt(sealed[len(SEALED_MAGIC) + NONCE_BYTES :], nonce)


def kid_of(key: str) -> str:
    """The kid inside a key's text, after its shape and its CRC were checked."""
    shape = KEY_SHAPE.fullmatch(key)
    if shape is None:
        raise ValueError(f"a key of {len(key)} characters that has not the shape kw_live_<kid>_<secret><crc>")
    kid, _, checksum = shape.groups()
    wanted = base62(zlib.crc32(key[:-6].encode()), 6)
    if checksum != wanted:
        raise ValueError(f"the key's CRC is {checksum}, computed is {wanted}")
    return kid


def base62(number: int, width: int) -> str:
    """A number in the alphabet 0-9A-Za-z, zero-padded to `width`."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits.rjust(width, "0")


def _crc16(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(2, "little")


def self_test() -> None:
    """The codec against a pair made by the Go nkeys library, and against damage."""
    seed = "SXAKIYZX2POLIHZ5W5YZEWVTH24NLEUETBW3TKIVYRSS3GNHFXO5D4JJZM"
    public = "XBUJMZHVOPQ2SK5VD3TY4VNBPVU2YFGRLK6EFPEPSMVDUYEBSROWZCEA"
    assert encode_public(decode_seed(seed).public_key) == public, "the xkey encoding differs from the Go library's"
    assert encode_public(decode_public(public)) == public, "an xkey does not survive decode and encode"
    for damaged in (public[:20] + ("A" if public[20] != "A" else "B") + public[21:], "U" + public[1:]):
        try:
            decode_public(damaged)
        except ValueError:
            continue
        raise AssertionError(f"a damaged xkey was accepted: {damaged}")
    recipient, sender = PrivateKey.generate(), PrivateKey.generate()
    box = Box(sender, recipient.public_key).encrypt(b"secret")
    assert open_sealed(SEALED_MAGIC + box, recipient, encode_public(sender.public_key)) == b"secret"
    assert base62(61, 6) == "00000z" and base62(0xFFFFFFFF, 6) == "4gfFC3", "the base62 alphabet or padding is wrong"


if __name__ == "__main__":
    self_test()
    print("xkey: ok")
