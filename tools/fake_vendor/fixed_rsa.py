"""RSA of the fake vendor: keys that come from names, and signatures that are always the same.

Primes lie where the hash of a name points to, or a little behind; for the names in use it is known
how far, since looking for them takes seconds. A probabilistic signature is made from a salt that is
the hash of what is signed. All of that is for tests: whoever knows a name has the key.
"""

import hashlib
from functools import cache
from itertools import count
from math import gcd
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

EXPONENT: Final = 65537

BEHIND: Final[dict[tuple[str, int], tuple[int, int]]] = {
    ("amd root", 4096): (2826, 682),
    ("amd signer", 4096): (808, 1048),
    ("azure vtpm", 2048): (194, 594),
    ("opengradient enclave", 2048): (250, 694),
    ("opengradient other", 2048): (226, 2490),
}
"""Name and bits of a modulus → how far behind their hashes its two primes lie."""

_SMALL_PRIMES = tuple(
    number for number in range(3, 2000, 2) if all(number % part for part in range(3, number, 2))
)
_ROUNDS = 24


@cache
def private_key(name: str, bits: int) -> rsa.RSAPrivateKey:
    """The RSA key of that name: the same in every process."""
    p, q = (
        _start(name, bits, which) + behind
        for which, behind in zip("pq", BEHIND.get((name, bits)) or search(name, bits), strict=True)
    )
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(EXPONENT, p * q),
        # The primes are tested when they are looked for; testing them again takes as long.
    ).private_key(unsafe_skip_rsa_key_validation=True)


def search(name: str, bits: int) -> tuple[int, int]:
    """How far behind their hashes the primes of a key lie."""
    first, second = (_behind(_start(name, bits, which)) for which in "pq")
    return first, second


def sign_pss_sha384(key: rsa.RSAPrivateKey, signed: bytes) -> bytes:
    """RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC 8017 §8.1.1)."""
    digest = hashlib.sha384(signed).digest()
    return _sign_pss(key, digest, hashlib.sha384(b"salt" + digest).digest(), "sha384")


def sign_pss_sha256(key: rsa.RSAPrivateKey, signed: bytes, salt_bytes: int = 32) -> bytes:
    """RSASSA-PSS with SHA-256, MGF1 with SHA-256, and as much salt as one likes."""
    digest = hashlib.sha256(signed).digest()
    return _sign_pss(key, digest, _mask(digest, salt_bytes, "sha256"), "sha256")


def _sign_pss(key: rsa.RSAPrivateKey, digest: bytes, salt: bytes, algorithm: str) -> bytes:
    numbers = key.private_numbers()
    bits = key.key_size - 1
    size = (bits + 7) // 8
    # RFC 8017 §9.1.1.
    hashed = hashlib.new(algorithm, bytes(8) + digest + salt).digest()
    block = b"\x01".rjust(size - len(hashed) - len(salt) - 1, b"\0") + salt
    mask = _mask(hashed, len(block), algorithm)
    masked = int.from_bytes(block, "big") ^ int.from_bytes(mask, "big")
    masked &= (1 << 8 * len(block) - (8 * size - bits)) - 1
    message = int.from_bytes(masked.to_bytes(len(block), "big") + hashed + b"\xbc", "big")
    # RFC 8017 §5.1.2: twice half the size is a quarter of the work.
    one = pow(message, numbers.dmp1, numbers.p)
    other = pow(message, numbers.dmq1, numbers.q)
    whole = other + numbers.q * ((one - other) * numbers.iqmp % numbers.p)
    return whole.to_bytes((key.key_size + 7) // 8, "big")


def _mask(seed: bytes, size: int, algorithm: str) -> bytes:
    """MGF1 (RFC 8017 §B.2.1)."""
    made = b""
    for number in count():
        if len(made) >= size:
            break
        made += hashlib.new(algorithm, seed + number.to_bytes(4, "big")).digest()
    return made[:size]


def _start(name: str, bits: int, which: str) -> int:
    """An odd number of half the bits, whose first two are ones."""
    size = bits // 16
    number = int.from_bytes(hashlib.shake_256(f"{name} {which}".encode()).digest(size), "big")
    return number | 3 << 8 * size - 2 | 1


def _behind(start: int) -> int:
    return next(step for step in count(0, 2) if _fits(start + step))


def _fits(number: int) -> bool:
    """Whether a number is prime (Miller and Rabin), and one less shares nothing with e."""
    if any(number % part == 0 for part in _SMALL_PRIMES) or gcd(number - 1, EXPONENT) != 1:
        return False
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    odd = (number - 1) >> twos
    for base in _SMALL_PRIMES[:_ROUNDS]:
        value = pow(base, odd, number)
        if value in (1, number - 1):
            continue
        for _ in range(twos - 1):
            value = value * value % number
            if value == number - 1:
                break
        else:
            return False
    return True
