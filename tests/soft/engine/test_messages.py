"""Messages that no shim sends: each ends its own session, or is answered, and hurts nobody else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from support import hostile, wire
from support.client import INLINE, LEGACY, SLOT, Client, CudaError, wait_until
from support.executor import ExecutorProcess, victim

OUT_OF_MEMORY = 2


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorProcess]:
    with ExecutorProcess("--soft-memory-bytes=1073741824") as process:
        process.wait_event("ready")
        yield process


def op(code: int, size: int, call_id: int = 0, flags: int = 0) -> bytes:
    return wire.pack("tally_op", {"code": code, "bytes": size, "call_id": call_id, "flags": flags})


def copy_number() -> int:
    return wire.constant("OP_COPY")


MALFORMED = {
    "empty": b"",
    "shorter than a header": b"\1\2\3",
    "size too small": op(26, 8),
    "size too large": op(26, 1 << 20),
    "unknown op": op(200, 16),
    "unknown flags": op(26, 16, 1, flags=1),
    "call without a number": op(26, 16),
    "code 0": op(0, 16),
    "generated op beyond the last": op(60000, 16, 1),
    "generated op without a body": op(256, 16, 1),
    "truncated copy": op(6, 20) + b"1234",
    "trailing bytes": op(26, 20, 1) + b"1234",
    "largest allowed": op(26, 1 << 18) + bytes((1 << 18) - 16),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_ends_its_session(
    executor: ExecutorProcess, bystander: Client, name: str
) -> None:
    with victim(executor) as (client, session):
        client.alloc(100)
        client.raw(MALFORMED[name])
        closed = executor.wait_event("closed", session)
        assert closed["reason"].startswith("bad message"), closed["reason"]
        assert client.page.closed == 1


def test_a_message_beyond_the_limit_ends_its_session(
    executor: ExecutorProcess, bystander: Client
) -> None:
    with victim(executor) as (client, session):
        client.sync()
        client.raw(bytes((1 << 18) + 1))
        executor.wait_event("closed", session)


def test_two_frames_end_the_session(executor: ExecutorProcess, bystander: Client) -> None:
    with victim(executor) as (client, session):
        client.sync()
        client.ops.send_multipart([op(26, 16, 1), b"more"])
        assert "frame" in executor.wait_event("closed", session)["reason"]


HOSTILE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slot out of range": ("COPY", "tally_op_copy", {"slot": 99, "slot_sequence": 1}),
    "place out of range": ("COPY", "tally_op_copy", {"dst_place": 9}),
    "inline as destination": ("COPY", "tally_op_copy", {"dst_place": INLINE}),
    "memset of odd elements": ("MEMSET", "tally_op_memset", {"element_bytes": 3}),
    "stream of another kind": (
        "STREAM_CREATE",
        "tally_op_stream_create",
        {"stream": wire.handle("EVENT", 1)},
    ),
    "stream index beyond the limit": (
        "STREAM_CREATE",
        "tally_op_stream_create",
        {"stream": wire.handle("STREAM", 1 << 21)},
    ),
    "upload behind its end": (
        "UPLOAD",
        "tally_op_upload",
        {"upload": 1, "total": 100, "offset": 90, "bytes": 20},
    ),
    "launch with too many parameters": (
        "LAUNCH",
        "tally_op_launch",
        {"param_bytes": 1 << 31},
    ),
    "launch with too many attributes": (
        "LAUNCH",
        "tally_op_launch",
        {"attribute_count": 1 << 31},
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_field_ends_its_session(
    executor: ExecutorProcess, bystander: Client, name: str
) -> None:
    code, struct, fields = HOSTILE[name]
    with victim(executor) as (client, session):
        client.send(code, struct, **fields)
        reason = executor.wait_event("closed", session)["reason"]
        assert reason.startswith("bad message"), reason


def test_an_upload_beyond_the_setting_is_refused(
    executor: ExecutorProcess, bystander: Client
) -> None:
    """`module_bytes_max` is a limit that a program may meet, not a lie."""
    with executor.client() as client:
        client.send("UPLOAD", "tally_op_upload", upload=1, total=1 << 40, bytes=1)
        client.sync()
        assert client.async_errors == [OUT_OF_MEMORY]


def test_numbers_that_overflow_are_errors(executor: ExecutorProcess, bystander: Client) -> None:
    huge = (0, 1, 2**31, 2**32 + 1, 2**63, 2**64 - 1, 2**64 - 4096)
    random = Random(3)
    with executor.client() as client:
        address = client.alloc(4096)
        for _ in range(3000):
            pick = random.choice
            client.raw(
                client.copy(
                    dst=address + pick((0, 4095, 2**63)) & 2**64 - 1,
                    src=pick(huge),
                    src_place=pick((INLINE, SLOT, 0, 1)),
                    tail=b"",
                    **{
                        name: pick(huge)
                        for name in (
                            *("width", "height", "depth"),
                            *("dst_pitch", "dst_slice", "src_pitch", "src_slice"),
                        )
                    },
                )
            )
            client.send(
                "MEMSET",
                "tally_op_memset",
                stream=LEGACY,
                dst=address,
                pitch=pick(huge),
                width=pick(huge),
                height=pick(huge),
                element_bytes=pick((1, 2, 4)),
            )
        for size in huge:
            for code, struct in (
                ("MEM_ALLOC", "tally_op_mem_alloc"),
                ("HOST_ALLOC", "tally_op_host_alloc"),
            ):
                with contextlib.suppress(CudaError):
                    client.finish(client.begin(code, struct, bytes=size))
        client.sync()


def test_random_messages_end_sessions_only(executor: ExecutorProcess, bystander: Client) -> None:
    random = Random(11)
    for _ in range(30):
        with victim(executor) as (client, session):
            for _ in range(50):
                body = random.randbytes(random.randrange(0, 200))
                code = random.choice((*range(1, 29), *range(256, 275)))
                client.raw(op(code, 16 + len(body), random.randrange(3)) + body)
            client.raw(b"the end")
            executor.wait_event("closed", session)


def test_lies_of_the_fuzzer_reach_what_they_lie_to(
    executor: ExecutorProcess, bystander: Client
) -> None:
    """Else the fuzzer would try nothing but the decoders: its ops have to follow the protocol."""
    told: set[int] = set()
    for seed in range(10):
        random = Random(seed)
        opened = executor.open(kind=random.choice(("high", "best-effort")))
        client = Client(opened)
        liar = hostile.Liar(random, client.region[0], client.slot_count)
        ops = [*hostile.preamble(), *(liar.op() for _ in range(300))]
        for message in ops:
            client.raw(message)
            told.add(hostile.OP_HEADER.unpack_from(message)[0])
        wait_until(lambda ops=ops, page=client: page.page.ops_handled >= len(ops), f"seed {seed}")
        assert client.page.closed == 0, executor.wait_event("closed", opened["session"])
        client.close()
        executor.wait_event("closed", opened["session"])
    assert told == set(hostile.BODIES)
