#!/usr/bin/env python3
"""Writes the golden vectors of the native protocol: python3 tools/wire_vectors.py > tests/vectors/native.txt

A second implementation of the layout, from docs/PROTOCOL.md and with nothing but the standard library, so that two
programs must agree on every byte. It knows no exchange and no checks: only how a message lies in a datagram.
"""

import hashlib
import hmac
import struct

FIELDS = [  # name, struct code; the order on the wire, big-endian, no padding
    ("magic", "H"), ("version", "B"), ("kind", "B"), ("key_id", "H"), ("flags", "H"), ("cluster", "I"), ("boot", "I"),
    ("sender", "Q"), ("receiver", "Q"), ("sequence", "Q"), ("nonce", "Q"), ("echo", "Q"), ("receive", "q"),
    ("transmit", "q"), ("earlier_transmit", "q"), ("earlier_delta", "I"), ("map_version", "I"), ("map_epoch", "q"),
    ("map_offset", "q"), ("map_rate", "q"), ("map_fraction", "I"), ("wander", "f"), ("boost", "f"), ("sigma", "f"),
    ("bound", "f"), ("alive", "H"), ("stamp_doubt", "H"), ("name", "16s"), ("circle", "Q"),
]
CLASSES = {"user": 0, "kernel": 1, "nic": 2}
STATES = {"unset": 0, "acquire": 1, "track": 2, "holdover": 3}
ROLES = {"peer": 0, "reference": 1, "observer": 2}
LEAPS = {"none": 0, "insert": 1, "delete": 2}
KINDS = {"probe": 1, "reply": 2, "report": 3, "follow": 4}
WORDS = ["receive_class", "promised_class", "earlier_class", "state", "role", "joining", "leap"]

ORDINARY = {
    "key": bytes(range(32)).hex(), "key_id": 1, "cluster": "rack-7", "boot": 0x5EED0001, "sender": "db1",
    "receiver": "db2", "sequence": 1000, "nonce": 0x0123456789ABCDEF, "echo": 0xFEDCBA9876543210,
    "receive": 86_400_000_000_123, "transmit": 86_400_000_004_567, "earlier_transmit": 86_399_875_001_111,
    "earlier_delta": 3, "map_version": 42, "map_epoch": 86_000_000_000_000, "map_offset": 1_790_000_000_000_000_003,
    "map_rate": 8_589_934_592, "map_fraction": 1 << 31, "wander": 2.0**-60, "boost": 1.5, "sigma": 812.25,
    "bound": 40_960.0, "alive": 5, "stamp_doubt": 640, "name": "db1", "receive_class": "kernel", "promised_class": "kernel",
    "earlier_class": "nic", "state": "track", "role": "peer", "joining": 0,
    "leap": "none", "circle": 0x1122334455667788,
}
LOW, HIGH = -(2**63), 2**63 - 1
VECTORS = [
    ("a probe to a node that is known", {"kind": "probe", "echo": 0, "receive": 0, "receive_class": "user"}),
    ("the first probe of a run, to whoever is there", {
        "kind": "probe", "receiver": "", "sequence": 1, "echo": 0, "receive": 0, "receive_class": "user",
        "earlier_transmit": 0, "earlier_delta": 0, "earlier_class": "user", "map_version": 0, "map_rate": 0,
        "map_fraction": 0, "boost": 1.0, "sigma": float("inf"), "bound": float("inf"), "alive": 1, "state": "unset",
        "joining": 1,
    }),
    ("a reply with stamps of the card", {
        "kind": "reply", "receive_class": "nic", "promised_class": "nic", "earlier_transmit": 0, "earlier_delta": 0,
        "earlier_class": "user",
    }),
    ("a report of a reference in holdover", {"kind": "report", "state": "holdover", "role": "reference"}),
    ("a follow of an observer that is acquiring", {
        "kind": "follow", "receive": 0, "receive_class": "user", "state": "acquire", "role": "observer", "joining": 1,
    }),
    ("every number at its greatest", {
        "kind": "reply", "key": "ff" * 64, "key_id": 0xFFFF, "boot": 0xFFFFFFFF, "sequence": 2**64 - 1,
        "nonce": 2**64 - 1, "echo": 2**64 - 1, "receive": HIGH, "transmit": HIGH, "earlier_transmit": HIGH,
        "earlier_delta": 0xFFFFFFFF, "map_version": 0xFFFFFFFF, "map_epoch": HIGH, "map_offset": HIGH,
        "map_rate": int(0.2 * 2**48), "map_fraction": 0xFFFFFFFF, "wander": 2.0**-27, "boost": 1024.0,
        "sigma": float("inf"), "bound": float("inf"), "alive": 0xFFFF, "stamp_doubt": 0xFFFF, "circle": 2**64 - 1, "name": "sixteen-bytes-ok", "state": "holdover",
        "role": "observer", "joining": 1, "receive_class": "nic", "promised_class": "nic",
    }),
    ("every number at its least", {
        "kind": "report", "key": "00" * 16, "key_id": 0, "boot": 0, "sequence": 0, "nonce": 0, "echo": 0,
        "receive": LOW, "transmit": LOW, "earlier_transmit": 0, "earlier_delta": 0, "map_version": 0, "map_epoch": LOW,
        "map_offset": LOW, "map_rate": -int(0.2 * 2**48), "map_fraction": 0, "wander": 2.0**-86, "boost": 1.0,
        "sigma": 0.0, "bound": 0.0, "alive": 1, "stamp_doubt": 0, "circle": 0, "name": "", "receive_class": "user", "promised_class": "user",
        "earlier_class": "user", "state": "unset",
    }),
    ("a name that is not ASCII and clocks before their epoch", {
        "kind": "follow", "sender": "zürich", "name": "zürich", "receive": -1, "transmit": -2, "earlier_transmit": -3,
        "map_epoch": -4, "map_offset": -5, "map_rate": -6, "map_fraction": 7,
    }),
    ("a follow of a reference that knows of a leap second to come", {
        "kind": "follow", "role": "reference", "sigma": 0.0, "bound": 0.0, "leap": "insert",
    }),
    ("a report of a reference that knows of a second left out", {
        "kind": "report", "role": "reference", "sigma": 0.0, "bound": 0.0, "leap": "delete",
    }),
]


def derived(words: bytes, length: int) -> int:
    return int.from_bytes(hashlib.sha256(words).digest()[:length], "big")


def node_id(cluster: str, name: str) -> int:
    return max(1, derived(b"llts node\0" + cluster.encode() + b"\0" + name.encode(), 8)) if name else 0


def datagram(v: dict) -> bytes:
    wire = dict(v, magic=0x4C54, version=0x10, name=v["name"].encode())
    wire["kind"] = KINDS[v["kind"]]
    wire["cluster"] = derived(b"llts cluster\0" + v["cluster"].encode(), 4)
    wire["sender"] = node_id(v["cluster"], v["sender"])
    wire["receiver"] = node_id(v["cluster"], v["receiver"])
    wire["flags"] = (
        CLASSES[v["receive_class"]] | CLASSES[v["promised_class"]] << 2 | CLASSES[v["earlier_class"]] << 4
        | STATES[v["state"]] << 6 | ROLES[v["role"]] << 8 | v["joining"] << 10
        | LEAPS[v["leap"]] << 11
    )
    body = struct.pack(">" + "".join(code for _, code in FIELDS), *(wire[name] for name, _ in FIELDS))
    assert len(body) == 160
    return body + hmac.new(bytes.fromhex(v["key"]), body, hashlib.sha256).digest()[:16]


def main() -> None:
    print("# Golden vectors of the native protocol; made by tools/wire_vectors.py, read by tests/wire_vectors.rs.")
    print("# map_rate in units of 2^-48, map_fraction in units of 2^-32 ns, floats as their 32 bits in hex.")
    for title, differs in VECTORS:
        v = {**ORDINARY, **differs}
        print(f"\n[{title}]")
        for name in ["key", *(n for n, _ in FIELDS if n in v), *WORDS]:
            code = dict(FIELDS).get(name)
            value = struct.pack(">f", v[name]).hex() if code == "f" else v[name]
            print(f"{name} = {value}".rstrip())
        print(f"datagram = {datagram(v).hex()}")


if __name__ == "__main__":
    main()
