"""C2SP: what other people's tests say of tile paths, proofs, checkpoints and verifier keys.

The facts of the tables in tessera ``api/layout/{paths,tile}_test.go``, and in
transparency-dev/formats ``proof/tlog_proof_test.go``, ``log/checkpoint_test.go`` and
``note/note_verifier_test.go``. Those of ``policy/`` and ``note/note_cosigv1_test.go`` are in the
rooms of policies and cosignatures. Where we are stricter than they, the case says so.
"""

import pytest

from registry.core.digest import sha256
from registry.core.encoding import base64_text
from registry.core.tlog.checkpoint import Checkpoint, SignedCheckpoint
from registry.core.tlog.entry_bundle import bundle_path
from registry.core.tlog.merkle import leaf_hash, root
from registry.core.tlog.note import VerifierKey
from registry.core.tlog.receipt import Receipt
from registry.core.tlog.tile import ExpandedTile, TilePath, width_at
from registry.errors import MalformedError, Reason
from registry.signing.file import LogSigner

EVERYTHING = 2**64 - 1
"""The size of a log that has every tile whole."""


# --- Tile paths ---


@pytest.mark.parametrize(
    ("entry", "size", "path"),
    [
        (0, 256, "tile/entries/000"),
        (255, 256, "tile/entries/000"),
        (251, 255, "tile/entries/000.p/255"),
        (256, 512, "tile/entries/001"),
        (256, 257, "tile/entries/001.p/1"),
        (123456789 * 256, 123456790 * 256, "tile/entries/x123/x456/789"),
        (0, 289, "tile/entries/000"),
        (0, 8, "tile/entries/000.p/8"),
        (255 * 256, 256 * 256, "tile/entries/255"),
        (256 * 256, 257 * 256, "tile/entries/256"),
        (123456789000 * 256, EVERYTHING, "tile/entries/x123/x456/x789/000"),
    ],
)
def test_an_entry_lies_in_the_bundle_that_others_expect(entry: int, size: int, path: str) -> None:
    index = entry // 256
    assert bundle_path(index, width_at(0, index, size)) == path


@pytest.mark.parametrize(
    ("level", "index", "size", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 0, 255, "tile/0/000.p/255"),
        (1, 0, EVERYTHING, "tile/1/000"),
        (1, 0, 256, "tile/1/000.p/1"),
        (1, 0, 1024, "tile/1/000.p/4"),
        (3, 1234567, EVERYTHING, "tile/3/x001/x234/567"),
    ],
)
def test_a_tile_lies_where_others_expect(level: int, index: int, size: int, path: str) -> None:
    expected = TilePath(level, index, width_at(level, index, size))
    assert str(expected) == path
    assert TilePath.parse(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tile/15/x455/667", TilePath(15, 455667)),
        ("tile/15/x123/x456/789", TilePath(15, 123456789)),
        ("tile/0/x001/x234/067", TilePath(0, 1234067)),
        ("tile/0/x001/x234/067.p/89", TilePath(0, 1234067, 89)),
        ("tile/63/x999/x999/x999/x999/x999/999.p/255", TilePath(63, 10**18 - 1, 255)),
        ("tile/0/001", TilePath(0, 1)),
    ],
)
def test_a_path_is_read_as_others_read_it(path: str, expected: TilePath) -> None:
    assert TilePath.parse(path) == expected
    assert str(expected) == path


@pytest.mark.parametrize(
    "path",
    [
        "0/x001/x234/067.p/",
        "0/x001/x234/067.p",
        "0/x001/x234/",
        "0/x001/x234",
        "0/x001/",
        "0/x001",
        "1/x001/.p/abc",
        "64/x001/002",
        "-1/x001/002",
        "abc/x001/002",
        "8/001/002",
        "8/x001/0002",
        "8/x001/-002",
        "8/x001/002.p/256",
    ],
)
def test_a_path_that_others_refuse_is_refused(path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        TilePath.parse(f"tile/{path}")
    assert caught.value.reason is Reason.MALFORMED_TILE_PATH


@pytest.mark.parametrize(
    ("level", "position", "tile", "height", "within"),
    [
        (0, 0, (0, 0), 0, 0),
        (0, 255, (0, 0), 0, 255),
        (0, 256, (0, 1), 0, 0),
        (1, 0, (0, 0), 1, 0),
        (8, 0, (1, 0), 0, 0),
    ],
)
def test_a_node_lies_in_the_tile_that_others_expect(
    level: int, position: int, tile: tuple[int, int], height: int, within: int
) -> None:
    # Two tiles of leaves, and the one above them.
    leaves = [sha256(b"%d" % number) for number in range(512)]
    below = [ExpandedTile(leaves[:256]), ExpandedTile(leaves[256:])]
    above = ExpandedTile(each.node(8, 0) for each in below)
    tiles = {(0, 0): below[0], (0, 1): below[1], (1, 0): above}
    width = 1 << level
    expected = root(leaves[position * width : (position + 1) * width])
    assert tiles[tile].node(height, within) == expected


# --- tlog-proof ---


LOG = LogSigner.generate("log.example")
LEAVES = [leaf_hash(b"%d" % number) for number in range(2)]
HEAD = LOG.sign(Checkpoint("log.example", 2, root(LEAVES)))
H1, H2 = sha256(b"hash1"), sha256(b"hash2")


def test_a_proof_is_written_as_others_write_it() -> None:
    hashes = f"{base64_text(H1)}\n{base64_text(H2)}\n"
    expected = f"c2sp.org/tlog-proof@v1\nindex 5\n{hashes}\n".encode() + HEAD.note
    assert Receipt(5, (H1, H2), HEAD).to_bytes() == expected
    assert Receipt.parse(expected) == Receipt(5, (H1, H2), HEAD)


def test_a_proof_without_hashes_is_written_as_others_write_it() -> None:
    expected = b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + HEAD.note
    assert Receipt(0, (), HEAD).to_bytes() == expected
    assert Receipt.parse(expected) == Receipt(0, (), HEAD)


@pytest.mark.parametrize(
    "text",
    [
        "wrong-header\nindex 0\n\n",
        "c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\n",
        "c2sp.org/tlog-proof@v1\n\n\n",
        "c2sp.org/tlog-proof@v1\nindex notanumber\n\n",
        "c2sp.org/tlog-proof@v1\nindex -5\n\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\n",
        f"c2sp.org/tlog-proof@v1\nindex 0\n{'a' * 65 * 1024}\n",
        # Others take it: it is not signed, and so may not stand in a receipt of ours.
        "c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n\n",
    ],
)
def test_a_proof_that_others_refuse_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        Receipt.parse(text.encode() + HEAD.note)


def test_a_proof_with_a_hash_of_64_bytes_is_refused() -> None:
    text = f"c2sp.org/tlog-proof@v1\nindex 0\n{base64_text(bytes(64))}\n\n".encode()
    with pytest.raises(MalformedError):
        Receipt.parse(text + HEAD.note).verify(b"0", LOG.key)


# --- Checkpoints ---

ROOT = base64_text(sha256(b"the view from the tree tops is great!"))


@pytest.mark.parametrize("origin", ["Log", "Banana"])
def test_a_checkpoint_is_read_and_written_as_others_do(origin: str) -> None:
    text = f"{origin}\n9944\n{ROOT}\n"
    assert str(Checkpoint.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "Head\n9944\n",
        f"\n9944\n{ROOT}\n",
        f"Log\n123\n{ROOT}",
        f"Log\nbananas\n{ROOT}\n",
        f"Log\n-34\n{ROOT}\n",
        f"Log\n3438945738945739845734895735\n{ROOT}\n",
        "Log\n123\nThisIsn'tBase64\n",
        # Others take roots of any length, and lines after the third, also empty ones.
        "Log\n123\nYmFuYW5hcw==\n",
        f"Log\n9944\n{ROOT}\nHere's some associated data.\n",
        f"Log\n9944\n{ROOT}\nlots\nof\nlines\n",
        f"Log\n9944\n{ROOT}\n\n\n\n",
        f"Moon Log\n4027504\n{ROOT}\n6086d1a9\nWaxing gibbous\n",
    ],
)
def test_a_checkpoint_that_others_refuse_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        Checkpoint.parse(text)
    assert caught.value.reason is Reason.MALFORMED_CHECKPOINT


# --- Verifier keys ---

REKOR = (
    "AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l+smGNM7nwZ4Qv"
    "FK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
)


def test_a_verifier_key_is_read_as_others_read_it() -> None:
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert str(VerifierKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "bananas.sigstore.dev+12344556",
        "rekor.sigstore.dev+12345678+THIS_IS_NOT_BASE64!",
        "rekor.sigstore.dev+12345678+AwEB",
        f"rekor.sigstore.dev+NOT_A_NUMBER+{REKOR}",
        f"rekor.sigstore.dev+00000000+{REKOR}",
        # Others take ECDSA keys as well; ours is a log of Ed25519 keys.
        f"rekor.sigstore.dev+c0d23d6a+{REKOR}",
    ],
)
def test_a_verifier_key_that_others_refuse_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        VerifierKey.parse(text)


def test_a_note_that_others_sign_with_a_key_of_another_kind_is_not_believed() -> None:
    note = (
        "Rekor\n798034\nf+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=\n\n"
        "— rekor.sigstore.dev wNI9ajBEAiARInWIWyCdyG27CO6LPnPekyw20qO0YJfoaPaowGp/XgIgc+qEHS3+GKVC"
        "lgqq20uDLet7MCoTURUCRdxwWBHHufk=\n"
    )
    head = SignedCheckpoint.parse(note.encode())
    assert (head.checkpoint.origin, head.checkpoint.size) == ("Rekor", 798034)
