"""Deltas between views: encoded for all rooms in one pass, decoded with plain integers.

A view is a list of whole numbers, cut into fields (`game.view.Field`). One delta against a baseline (all zeros for a
full one):

    | codes: 2 bits a field | masks of the changed fields | values of the changed fields |

    code 0  the field is unchanged: no mask, no values          1, 2, 3  its changed values follow as int8, int16, int32
    mask    one bit a value: changed or not. None for a field of one value; for more than 16 values the
            mask's bytes that are zero are left out, and bits before it say which
    value   new - old, wrapped around in the field's wire type (so an angle that passes zero stays small), little-endian

Bits are filled from the lowest. The same format carries what a room shares and what is a seat's own.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Sequence
from functools import cache, lru_cache
from struct import Struct

import attrs
import numpy as np

from game.view import Field
from netcode.errors import BadFrame
from netcode.packed import Packed, compiled, dense, joined, packed, whole

_PLAIN_MASK_MAX = 16
_CODE_BYTES = (0, 1, 2, 4)
_SENT = np.arange(4) < np.array(_CODE_BYTES)[:, None]
"""Which of the four bytes of a value each code sends."""
_CODE_TYPES = " bhi"
_KEPT_MASKS_BITS = 12
_NARROW = 32
"""Of up to so many values, looking at every byte costs less than gathering those that changed."""


class DeltaEncoder:
    """Encodes many deltas of one layout at once."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.width = sum(field.count for field in fields)
        starts, half, keep_bits, head_field, sparse = [], [], [], [], []
        self._code_bytes = -(-len(fields) // 4)
        head_field += [-1] * self._code_bytes
        sparse += [False] * self._code_bytes
        # Where the bits of each mask lie in the head (value and bit), and where the masks of masks are.
        value_at: list[int] = []
        bit_at: list[int] = []
        self._tops: list[tuple[int, int, int, int]] = []
        for number, field in enumerate(fields):
            starts.append(field.start)
            half += [1 << (field.bits - 1)] * field.count
            keep_bits += [(1 << field.bits) - 1] * field.count
            if field.count == 1:
                continue
            mask_bytes = -(-field.count // 8)
            if field.count > _PLAIN_MASK_MAX:
                top_bytes = -(-mask_bytes // 8)
                head_field += [number] * top_bytes
                sparse += [False] * top_bytes
                self._tops.append((len(head_field) - top_bytes, top_bytes, len(head_field), mask_bytes))
            first_bit = len(head_field) * 8
            value_at += range(field.start, field.start + field.count)
            bit_at += range(first_bit, first_bit + field.count)
            head_field += [number] * mask_bytes
            sparse += [field.count > _PLAIN_MASK_MAX] * mask_bytes
        self._table = _table(fields)
        self._longest = len(head_field) + 4 * self.width
        self._starts = np.array(starts, np.intp)
        self._half = np.array([-(2**31) if h == 2**31 else h for h in half], np.int32)
        self._keep_bits = np.array([-1 if m == 2**32 - 1 else m for m in keep_bits], np.int32)
        self._field_of = np.repeat(np.arange(len(fields)), [field.count for field in fields])
        self._head_bytes = len(head_field)
        self._head_field = np.array(head_field, np.intp)
        self._sparse = np.flatnonzero(sparse)
        self._value_at, self._bit_at = np.array(value_at, np.intp), np.array(bit_at, np.intp)
        self._code_shift = np.array([2 * (n % 4) for n in range(len(fields))], np.uint8)
        self._code_starts = np.arange(0, len(fields), 4)

    def encode(self, views: np.ndarray, current: np.ndarray, baseline: np.ndarray) -> Packed:
        """A delta for each row of `current`, of the view with this number against that with the number in `baseline`,
        or all zeros where that is -1. `views` is (M, V) int32, contiguous; the numbers are int64."""
        count = len(current)
        if not count:
            return packed([])
        if compiled is None:
            return self.encode_portably(views[current], np.where(baseline[:, None] < 0, 0, views[baseline]))
        out, sizes = np.empty((count + 1) * self._longest, np.uint8), np.empty(count, np.int64)
        numbers = whole(current, baseline)
        size = compiled.deltas(views, self.width, *numbers, self._table, self._longest, out, sizes)
        return dense(out[:size], sizes)

    def encode_portably(self, current: np.ndarray, baseline: np.ndarray) -> Packed:
        """The same between views (U, V) int32, without compiled code."""
        count = len(current)
        difference = current - baseline
        difference = ((difference + self._half) & self._keep_bits) - self._half
        changed = difference != 0
        widest = np.maximum.reduceat(difference ^ (difference >> 31), self._starts, axis=1)
        changes = np.add.reduceat(changed, self._starts, axis=1, dtype=np.int32)
        any_change = changes > 0
        code = any_change * (1 + (widest > 127).astype(np.uint8) + (widest > 32767))

        head, kept = self._heads(code, changed, any_change)
        codes = code[:, self._field_of]
        if self.width <= _NARROW:  # every byte that there could be, beside the head: one pass takes those that are sent
            wide = np.concatenate([head, difference.astype("<i4").view(np.uint8)], axis=1)
            kept = np.concatenate([kept, _SENT[codes * changed].reshape(count, -1)], axis=1)
            return dense(wide[kept], kept.sum(axis=1))
        size_of_code = np.array(_CODE_BYTES, np.int32)[code]
        values = difference[changed].astype("<i4").view(np.uint8).reshape(-1, 4)
        body = values[_SENT[codes[changed]]]
        return joined(dense(head[kept], kept.sum(axis=1)), dense(body, (changes * size_of_code).sum(axis=1)))

    def _heads(self, code: np.ndarray, changed: np.ndarray, any_change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and masks of every row at full width, and which of those bytes are sent."""
        count = len(code)
        bits = np.zeros((count, self._head_bytes * 8), np.uint8)
        bits[:, self._bit_at] = changed[:, self._value_at]
        head = np.packbits(bits, axis=1, bitorder="little")
        shifted = (code << self._code_shift).astype(np.uint8)
        head[:, : self._code_bytes] = np.bitwise_or.reduceat(shifted, self._code_starts, axis=1)
        for top_at, top_bytes, mask_at, mask_bytes in self._tops:
            used = head[:, mask_at : mask_at + mask_bytes] != 0
            head[:, top_at : top_at + top_bytes] = np.packbits(used, axis=1, bitorder="little")
        kept = np.empty((count, self._head_bytes), bool)
        kept[:, : self._code_bytes] = True
        kept[:, self._code_bytes :] = any_change[:, self._head_field[self._code_bytes :]]
        if len(self._sparse):
            kept[:, self._sparse] &= head[:, self._sparse] != 0
        return head, kept


def _table(fields: Sequence[Field]) -> np.ndarray:
    """The layout as compiled code takes it."""
    rows = [(field.start, field.count, field.bits, field.signed) for field in fields]
    return np.array(rows, np.int32).reshape(len(rows), 4)


class DeltaDecoder:
    """Decodes deltas of one layout, one at a time: only what has changed is looked at."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._code_bytes = -(-len(fields) // 4)
        self._fields = [_Plan.of(field) for field in fields]
        self._table = _table(fields)

    def decode(self, data: bytes, at: int, baseline: array[int]) -> tuple[array[int], int]:
        """The values ("q") after a delta that starts at `data[at]`, and where it ends; raises BadFrame on anything
        malformed."""
        if compiled is None:
            return self.decode_portably(data, at, baseline)
        values = baseline[:]
        try:
            return values, compiled.undelta(data, at, self._table, values)
        except ValueError as error:
            raise BadFrame(str(error)) from None

    def decode_all(self, data: Packed, views: np.ndarray, baselines: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Decode many: each delta at the beginning of a string makes row `places[i]` of `views` (M, V) int64 from row
        `baselines[i]`, or zeros where that is -1. Where each ends; -1: it is malformed, and its row worth nothing.
        """
        if not self._fields:
            return np.zeros(len(places), np.int64)
        if compiled is not None:
            ends = data.sizes.astype(np.int64)
            compiled.undeltas(
                *(data.data, *whole(data.begins), ends, self._table),
                *(views, views.shape[1], *whole(baselines, places)),
            )
            return ends
        ends = np.full(len(places), -1, np.int64)
        for number, (string, baseline, place) in enumerate(zip(data.strings(), baselines, places, strict=True)):
            before = views[baseline] if baseline >= 0 else np.zeros(views.shape[1], np.int64)
            with contextlib.suppress(BadFrame):
                views[place], ends[number] = self.decode_portably(string, 0, array("q", before.tobytes()))
        return ends

    def decode_portably(self, data: bytes, at: int, baseline: array[int]) -> tuple[array[int], int]:
        """The same without compiled code."""
        values = baseline[:]
        codes, at = data[at : at + self._code_bytes], at + self._code_bytes
        if len(codes) < self._code_bytes:
            raise BadFrame("the delta is cut short")
        changes: list[tuple[_Plan, Struct, list[int]]] = []
        left = int.from_bytes(codes, "little")
        while left:
            number = (left & -left).bit_length() - 1 >> 1
            code = left >> 2 * number & 3
            left ^= code << 2 * number
            if number >= len(self._fields):
                break  # bits behind the last field say nothing
            plan = self._fields[number]
            if plan.alone:
                where = plan.alone
            else:
                mask, at = _read_mask(data, at, plan.count)
                if mask >> plan.count:
                    raise BadFrame("a mask is longer than its field")
                where = plan.places.get(mask) or plan.find(mask)
            changes.append((plan, _steps(code, len(where)), where))
        for plan, steps, where in changes:
            low, keep, end = plan.low, plan.keep, at + steps.size
            if end > len(data):
                raise BadFrame("the delta is cut short")
            if low:
                for index, step in zip(where, steps.unpack_from(data, at)):  # noqa: B905 - as many as there are places
                    values[index] = (values[index] + step - low & keep) + low
            else:
                for index, step in zip(where, steps.unpack_from(data, at)):  # noqa: B905
                    values[index] = values[index] + step & keep
            at = end
        return values, at


@lru_cache(maxsize=256)
def delta_decoder(fields: tuple[Field, ...]) -> DeltaDecoder:
    """The decoder of a layout: all players of a game share one."""
    return DeltaDecoder(fields)


@attrs.frozen
class _Plan:
    """What the decoder must know of a field."""

    name: str
    start: int
    count: int
    alone: list[int]
    """The place of the value, where the field has but one, and so no mask."""
    low: int
    keep: int
    """Values are taken modulo a power of two, of which these are the bits, counted from `low`."""
    places: dict[int, list[int]] = attrs.field(factory=dict)
    """Where the values of a mask are: of all masks that came, where there are not many."""

    @classmethod
    def of(cls, field: Field) -> _Plan:
        low = -(1 << (field.bits - 1)) if field.signed else 0
        alone = [field.start] if field.count == 1 else []
        return cls(field.name, field.start, field.count, alone, low, (1 << field.bits) - 1)

    def find(self, mask: int) -> list[int]:
        """Where the values of a mask are."""
        found = [self.start + bit for bit in range(mask.bit_length()) if mask >> bit & 1]
        if self.count <= _KEPT_MASKS_BITS:
            self.places[mask] = found
        return found


@cache
def _steps(code: int, count: int) -> Struct:
    """So many changes of the width that the code means."""
    return Struct(f"<{count}{_CODE_TYPES[code]}")


def _read_mask(data: bytes, at: int, count: int) -> tuple[int, int]:
    mask_bytes = -(-count // 8)
    if count <= _PLAIN_MASK_MAX:
        end = at + mask_bytes
        if end > len(data):
            raise BadFrame("a mask is cut short")
        return int.from_bytes(data[at:end], "little"), end
    top_bytes = -(-mask_bytes // 8)
    if at + top_bytes > len(data):
        raise BadFrame("a mask is cut short")
    top = int.from_bytes(data[at : at + top_bytes], "little")
    at, mask = at + top_bytes, 0
    if at + (top & (1 << mask_bytes) - 1).bit_count() > len(data):
        raise BadFrame("a mask is cut short")
    for number in range(mask_bytes):
        if top >> number & 1:
            mask |= data[at] << (8 * number)
            at += 1
    return mask, at
