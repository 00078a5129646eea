"""How many samples each record file gives: pure arithmetic on counts.

Stage 1 gives each row the paper's count, split over its record files in proportion to what they hold.

Stage 2 has no counts in the paper, only "a small portion" of stage 1's remote-sensing data, resampled by
granularity. Here every granularity gets the same total, since the experts share no parameters that the
others' data could train. Within a granularity every row gets the same, as far as it goes: in proportion to
the size of the sets, more than half of the image expert's samples would be RSVQA's rule-made questions and
a hundredth those of the small classification sets. No row gives more than it gave in stage 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence


def in_proportion(total: int, weights: Sequence[int]) -> list[int]:
    """Split a total in proportion to weights (method of the largest remainder; ties go to the first).

    With ``total <= sum(weights)`` nobody gets more than its weight.
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -(total * weights[index] % whole))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def in_equal_parts(total: int, limits: Sequence[int]) -> list[int]:
    """Give everybody the same but nobody more than its limit; what the small cannot take goes to the rest.

    The shares add up to the total, or to the sum of the limits where that is less.
    """
    shares = [0] * len(limits)
    for position, index in enumerate(sorted(range(len(limits)), key=lambda index: limits[index])):
        shares[index] = min(limits[index], total // (len(limits) - position))
        total -= shares[index]
    return shares


def balanced(
    total: int, limits: Mapping[Hashable, Sequence[int]], *, repeat: bool
) -> tuple[dict[Hashable, list[int]], dict[Hashable, list[int]]]:
    """Share a total out within each of several groups.

    Args:
        total: wanted for each group.
        limits: by group, what each member can give without repeating itself.
        repeat: let groups that have too little repeat themselves; else all groups are cut to what the
            smallest can give. Groups that have nothing at all do not count.

    Returns:
        By group, the shares wanted of its members and those taken.
    """
    sums = {group: sum(members) for group, members in limits.items()}
    reachable = min([total, *(size for size in sums.values() if size)])
    wanted = {
        group: in_equal_parts(total, members) if sums[group] >= total else in_proportion(total, members)
        for group, members in limits.items()
    }
    if repeat:
        return wanted, wanted
    return wanted, {group: in_equal_parts(reachable, members) for group, members in limits.items()}
