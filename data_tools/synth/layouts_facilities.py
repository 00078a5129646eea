"""Scenes built around one facility: airport, port, playground, school, baseball field."""

from __future__ import annotations

import math
from dataclasses import replace

from data_tools.synth.geometry import place, rectangle
from data_tools.synth.items import Item
from data_tools.synth.layouts_nature import add_ships
from data_tools.synth.layouts_town import add_bays, surroundings
from data_tools.synth.site import Site

_COURT_COLOURS = {
    "tennis court": (
        ("green", "blue"),
        ("green", "green"),
        ("blue", "blue"),
        ("red", "green"),
        ("gray", "gray"),
    ),
    "basketball court": (
        ("red", "gray"),
        ("brown", "brown"),
        ("green", "red"),
        ("blue", "gray"),
        ("gray", "gray"),
    ),
}


def airplane(site: Site, x: float, y: float, length: float, angle: float) -> Item:
    """Return an aircraft (not yet added)."""
    rng = site.rng
    variant = rng.choices(("", "four", "jet"), (0.65, 0.2, 0.15))[0]
    return Item(
        "airplane",
        x,
        y,
        length=length,
        width=length * (rng.uniform(0.6, 0.7) if variant == "jet" else rng.uniform(0.86, 1.0)),
        angle=angle,
        colour="gray" if variant == "jet" else rng.choices(("white", "gray"), (0.82, 0.18))[0],
        accent=rng.choice(("", "", "red", "blue", "yellow")) if variant != "jet" else "",
        variant=variant,
        tone=site.tone(0.06),
        label="airplane",
        category="airplane",
    )


def airport(site: Site) -> None:
    """An apron with parked aircraft, a terminal, a taxiway or runway with markings, grass between."""
    rng = site.rng
    site.ground(rng.choice(("grass", "dry grass", "concrete", "asphalt")), tone=site.tone(0.15))
    apron = site.along(0.5, 0.5, rng.uniform(-0.2, 0.2), rng.uniform(-0.12, 0.12))
    depth = rng.uniform(0.5, 0.9)
    site.area(
        rectangle(*apron, 2.4, depth, site.grid), rng.choice(("concrete", "asphalt")), tone=site.tone(0.15)
    )
    for step in range(-5, 6):
        ends = place(((step * 0.2, -depth / 2), (step * 0.2, depth / 2)), *apron, site.grid)
        site.add(Item("marking", points=tuple(ends), colour="gray", width=0.003, tone=0.8), claim=False)
    taxi = site.along(*apron, 0, rng.choice((-1, 1)) * (depth / 2 + rng.uniform(0.05, 0.15)))
    strip = site.straight(*taxi, site.grid)
    site.area(rectangle(*taxi, 3.0, rng.uniform(0.1, 0.16), site.grid), "asphalt", tone=site.tone())
    colour = rng.choice(("white", "yellow"))
    site.add(Item("marking", points=tuple(strip), colour=colour, width=0.006, tone=0.9), claim=False)
    if rng.random() < 0.45:
        x, y = site.along(*apron, rng.uniform(-0.3, 0.3), -rng.choice((-1, 1)) * (depth / 2 - 0.05))
        hall = site.building(x, y, rng.uniform(0.3, 0.55), rng.uniform(0.12, 0.2), site.grid)
        site.try_add(
            replace(
                hall, variant=rng.choice(("flat", "sheds")), colour=rng.choice(("white", "gray")), height=0.03
            ),
            visible=0.4,
        )
    length = rng.choice((rng.uniform(0.07, 0.11), rng.uniform(0.1, 0.17), rng.uniform(0.16, 0.36)))
    heading = site.grid + rng.choice((0.5, -0.5)) * math.pi + rng.choice((0, 0, 0.5, -0.4))
    count = rng.choices((1, 2, 3, 4, 6, 8, 10), (4, 4, 4, 3, 2, 2, 1))[0]
    orderly = rng.random() < 0.6
    for attempt in range(count * 4):
        if sum(item.kind == "airplane" for item in site.items) >= count:
            break
        if orderly:
            row, column = divmod(attempt, max(2, int(0.9 / (1.1 * length))))
            side = (row % 2 - 0.5) * 1.5 * length
            x, y = site.along(*apron, -0.42 + column * 1.15 * length, side)
            plane = airplane(site, x, y, length, heading)
        else:
            x, y = site.along(*apron, rng.uniform(-0.6, 0.6), rng.uniform(-0.45, 0.45) * depth)
            plane = airplane(site, x, y, length * rng.uniform(0.6, 1.2), rng.uniform(0, 6.28))
        site.try_add(plane, gap=0.004, visible=0.8)
    for _ in range(rng.choice((0, 0, 2, 4))):
        x, y = site.along(*apron, rng.uniform(-0.5, 0.5), rng.uniform(-0.45, 0.45) * depth)
        site.try_add(site.vehicle(x, y, rng.uniform(0.05, 0.06), site.grid))


def port(site: Site) -> None:
    """A waterfront: a marina with piers, or a quay with ships, sheds and containers."""
    rng = site.rng
    site.ground("water", variant="water", label="water")
    shore = rng.uniform(0.15, 0.32)
    x, y = site.along(0.5, 0.5, 0, 0.5 - shore)
    land = rectangle(*site.along(x, y, 0, 0.7), 3.0, 1.4, site.grid)
    site.area(land, rng.choice(("concrete", "asphalt", "gravel")), tone=site.tone())
    edge = place(((-1.5, 0), (1.5, 0)), x, y, site.grid)
    site.add(Item("marking", points=tuple(edge), colour="gray", width=0.01), claim=False)
    marina = rng.random() < 0.6
    if marina:
        _add_piers(site, x, y)
    # First only the land is taken, for the ships, then only the water, for what stands on land.
    piers = list(site.taken)
    site.claim(land)
    if not marina:
        add_ships(site, rng.choice((1, 2, 3, 4, 5)), 0.09, 0.3, inside=0.9)
    site.taken = piers
    site.claim(rectangle(*site.along(x, y, 0, -0.69), 3.0, 1.4, site.grid))
    for _ in range(12):
        bx, by = site.along(x, y, rng.uniform(-0.7, 0.7), rng.uniform(0.1, 0.6))
        length = rng.uniform(0.1, 0.26)
        shed = site.building(bx, by, length, length * rng.uniform(0.4, 0.8), site.grid)
        site.try_add(replace(shed, variant=rng.choice(("flat", "gable", "sheds"))), gap=0.005, visible=0.5)
    for _ in range(rng.randint(0, 5)):
        cx, cy = site.along(x, y, rng.uniform(-0.6, 0.6), rng.uniform(0.06, 0.4))
        site.try_add(site.vehicle(cx, cy, 0.055, site.grid), gap=0.0)


def _add_piers(site: Site, x: float, y: float) -> None:
    """Add piers that stand out from the shore at (x, y), each a harbor object."""
    rng = site.rng
    length = rng.uniform(0.18, 0.45)
    width = rng.uniform(0.09, 0.22)
    pitch = width * rng.uniform(1.25, 1.8)
    count = rng.choices((1, 2, 3, 4, 5), (3, 4, 3, 2, 1))[0]
    material = rng.choice(("concrete", "gravel", "dirt"))
    for step in range(count):
        px, py = site.along(x, y, (step - (count - 1) / 2) * pitch, -length / 2)
        pier = Item(
            "harbor",
            px,
            py,
            length=length * rng.choice((1.0, 1.0, 0.8)),
            width=width,
            angle=site.grid + math.pi / 2,
            material=material,
            tone=site.tone(),
            label="harbor",
            category="harbor",
        )
        if site.visible(pier) >= 0.85:
            site.add(pier)


def court(site: Site, category: str, x: float, y: float, length: float, angle: float, paint: int) -> Item:
    """Return a tennis or basketball court (not yet added); ``paint`` picks its pair of colours."""
    colour, accent = _COURT_COLOURS[category][paint]
    ratio = 0.5 if category == "tennis court" else 0.56
    return Item(
        category,
        x,
        y,
        length=length,
        width=ratio * length,
        angle=angle,
        colour=colour,
        accent=accent,
        tone=site.tone(0.1),
        label=category,
        category=category,
    )


def add_courts(site: Site, category: str, count: int, length: float) -> None:
    """Put courts side by side in one row somewhere free."""
    rng = site.rng
    paint = rng.randrange(5)
    for _ in range(12):
        x, y = site.spot(0.12)
        angle = site.grid + rng.choice((0, math.pi / 2))
        row = []
        for step in range(count):
            offset = (step - (count - 1) / 2) * length * 0.64
            row.append(court(site, category, *place(((0, offset),), x, y, angle)[0], length, angle, paint))
        if all(site.visible(item) >= 0.9 and site.has_room(item, 0.01) for item in row):
            for item in row:
                site.add(item)
            return


def playground(site: Site) -> None:
    """A ground track field as the main thing, with courts, stands or buildings."""
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn", "concrete", "dry grass")), tone=site.tone(0.15))
    site.stains(("grass", "dry grass", "bare", "lawn"), rng.randint(0, 4))
    length = rng.uniform(0.32, 0.64)
    if length < 0.5:
        surroundings(site)
    track = Item(
        "ground track field",
        length=length,
        width=length * rng.uniform(0.5, 0.62),
        angle=site.grid,
        colour=rng.choices(("red", "brown", "blue", "gray"), (6, 3, 1, 1))[0],
        tone=site.tone(),
        label="ground track field",
        category="ground track field",
    )
    for _ in range(60):
        track = replace(track, x=rng.uniform(0.2, 0.8), y=rng.uniform(0.2, 0.8))
        if site.try_add(track, visible=0.97, gap=0.0):
            break
    stands = place(((0, track.width * 0.62),), track.x, track.y, track.angle)[0]
    if rng.random() < 0.4:
        stand = site.building(*stands, 0.5 * track.length, 0.06, track.angle, variant="flat", colour="gray")
        site.try_add(stand, gap=-0.2, visible=0.6)
    _add_sports(site, rng.choice(("tennis court", "basketball court")), rng.uniform(0.1, 0.2))
    if rng.random() < 0.4:
        _add_diamond(site, rng.uniform(0.09, 0.18))
    for _ in range(rng.randint(0, 6)):
        size = rng.uniform(0.1, 0.25)
        site.try_add(site.building(*site.spot(), size, 0.5 * size, site.grid), visible=0.6)
    site.trees(rng.randint(4, 24))


def _add_sports(site: Site, category: str, length: float) -> None:
    if site.rng.random() < 0.6:
        add_courts(site, category, site.rng.choice((1, 1, 2, 3)), length)


def school(site: Site) -> None:
    """School buildings around tennis and basketball courts, with a parking row and trees."""
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn", "concrete", "dry grass")), tone=site.tone(0.15))
    if rng.random() < 0.5:
        x, y = site.spot(0.05)
        width = rng.uniform(0.05, 0.08)
        site.road(site.straight(x, y, site.grid), width, variant="marked")
        site.cars_on(site.straight(x, y, site.grid), width, 0.055, rng.randint(0, 3))
    site.stains(("grass", "dry grass", "bare", "concrete"), rng.randint(0, 4))
    if rng.random() < 0.5:
        surroundings(site)
    length = rng.choice((rng.uniform(0.1, 0.16), rng.uniform(0.15, 0.32)))
    kinds = rng.choice((("tennis court",), ("basketball court",), ("tennis court", "basketball court")))
    for category in kinds:
        for _ in range(rng.choice((1, 1, 2))):
            add_courts(site, category, rng.choice((1, 1, 2, 2, 3)), length * rng.uniform(0.9, 1.1))
    for _ in range(rng.randint(4, 14)):
        size = rng.uniform(0.16, 0.4)
        wing = site.building(*site.spot(0.02), size, size * rng.uniform(0.3, 0.8), site.grid)
        site.try_add(replace(wing, height=0.03), visible=0.6)
    site.trees(rng.randint(4, 24))


def _add_diamond(site: Site, length: float) -> None:
    """Add a baseball diamond with its outfield somewhere free."""
    rng = site.rng
    for _ in range(10):
        diamond = Item(
            "baseball diamond",
            *site.spot(0.15),
            length=length,
            width=1.4 * length,
            angle=rng.uniform(0, 6.28),
            variant=rng.choice(("", "", "skinned")),
            tone=site.tone(0.15),
            label="baseball diamond",
            category="baseball diamond",
        )
        if site.visible(diamond) >= 0.95 and site.has_room(diamond, 0.02):
            home = (diamond.x, diamond.y, diamond.angle)
            reach = length * rng.uniform(1.8, 2.4)
            fan = [(-0.5 * length, 0.0)]
            fan += [
                (-0.5 * length + reach * math.cos(t), reach * math.sin(t))
                for t in (0.16 * k - 0.8 for k in range(11))
            ]
            outfield = place(fan, *home)
            if rng.random() < 0.75 and site.is_free(outfield):
                site.area(outfield, "lawn", tone=site.tone(0.15))
            site.add(diamond)
            return


def baseball_field(site: Site) -> None:
    """One to four baseball diamonds in a park."""
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn", "dry grass")), tone=site.tone(0.15))
    if rng.random() < 0.4:
        x, y = site.spot(0.04)
        site.road(site.straight(x, y, site.grid), rng.uniform(0.05, 0.08), variant="marked")
    site.stains(("grass", "dry grass", "lawn"), rng.randint(0, 4))
    if rng.random() < 0.6:
        surroundings(site)
    length = rng.choice((rng.uniform(0.08, 0.13), rng.uniform(0.12, 0.26)))
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        _add_diamond(site, length * rng.uniform(0.8, 1.1))
    if rng.random() < 0.35:
        add_courts(
            site, rng.choice(("tennis court", "basketball court")), rng.choice((1, 2)), rng.uniform(0.1, 0.16)
        )
    x, y = site.spot(0.2)
    if rng.random() < 0.5 and site.is_free(rectangle(x, y, 0.5, 0.24, site.grid)):
        add_bays(site, rng.uniform(0.05, 0.06), 0.5, 1, x, y)
    for _ in range(rng.randint(0, 3)):
        size = rng.uniform(0.07, 0.15)
        site.try_add(site.building(*site.spot(), size, 0.6 * size, site.grid))
    site.trees(rng.randint(6, 30))


FACILITIES = {
    "airport": airport,
    "port": port,
    "playground": playground,
    "school": school,
    "baseball field": baseball_field,
}
