"""Keccak-256 and EIP-191: published values, and signatures that have a second spelling."""

import builtins
from typing import Any

import pytest

from registry.core.foreign.ethereum import keccak256, personal_message, recover_address
from registry.errors import MalformedError, Reason, UnavailableError, VerificationError
from tools.fake_vendor.near import ethereum_address, ethereum_key, personal_sign

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def signature(text: str) -> bytes:
    return bytes.fromhex(personal_sign(ethereum_key(), text)[2:])


def test_keccak_is_not_the_sha3_of_the_standard() -> None:
    assert keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )


def test_a_text_is_prefixed_with_its_length_in_bytes() -> None:
    assert personal_message("é".encode()) == b"\x19Ethereum Signed Message:\n2\xc3\xa9"


def test_a_published_signature_yields_its_address() -> None:
    # The key of the documentation of web3: 4c08…2318 signs "Some data".
    made = bytes.fromhex(
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
        "1c"
    )
    address = recover_address(made, b"Some data")
    assert address.hex() == "2c7536e3605d9c16a7a3d7b1898e529396a65c23"


@pytest.mark.parametrize("offset", [0, 27])
def test_the_last_byte_may_count_from_0_or_from_27(offset: int) -> None:
    made = signature("text")
    spelled = made[:64] + bytes([made[64] - 27 + offset])
    assert recover_address(spelled, b"text") == ethereum_address(ethereum_key())


def test_another_text_yields_another_address() -> None:
    assert recover_address(signature("text"), b"test") != ethereum_address(ethereum_key())


def test_the_other_s_of_a_signature_is_refused() -> None:
    made = signature("text")
    s = ORDER - int.from_bytes(made[32:64], "big")
    other = made[:32] + s.to_bytes(32, "big") + bytes([55 - made[64]])
    with pytest.raises(MalformedError) as caught:
        recover_address(other, b"text")
    assert caught.value.reason is Reason.MALFORMED_SIGNATURE


@pytest.mark.parametrize(
    "damage",
    [
        lambda made: made[:64],
        lambda made: made + b"\0",
        lambda made: made[:64] + b"\x1d",
        lambda made: made[:64] + b"\x02",
        lambda made: made[:32] + bytes(32) + made[64:],
        lambda _: b"",
    ],
    ids=["short", "long", "29", "2", "s is 0", "empty"],
)
def test_what_is_no_recoverable_signature_is_refused(damage: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        recover_address(damage(signature("text")), b"text")
    assert caught.value.reason is Reason.MALFORMED_SIGNATURE


def test_no_key_makes_a_signature_whose_r_is_no_point() -> None:
    made = signature("text")
    with pytest.raises(VerificationError) as caught:
        recover_address(bytes(32) + made[32:], b"text")
    assert caught.value.reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("absent", ["Crypto.Hash", "coincurve"])
def test_without_the_extra_it_says_which(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = signature("text"), builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name == absent:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(UnavailableError) as caught:
        recover_address(made, b"text")
    assert caught.value.reason is Reason.MISSING_EXTRA
    assert "provreg[foreign]" in caught.value.hint
