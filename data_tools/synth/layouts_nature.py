"""Scenes of open country and water: farmland, forest, meadow, bare land, beach, sea, pond, river, bridge."""

from __future__ import annotations

import math

from data_tools.synth.geometry import (
    Point,
    blob,
    bounds,
    box_area,
    box_polygon,
    clip_box,
    place,
    rectangle,
    winding,
)
from data_tools.synth.items import Item
from data_tools.synth.site import Site, weighted

_SHIP_COLOURS = (
    ("gray", 0.34),
    ("white", 0.24),
    ("black", 0.12),
    ("red", 0.14),
    ("blue", 0.1),
    ("brown", 0.06),
)


def add_country_road(site: Site, cars: int = 3) -> list[Point]:
    """Lay a road or track across the image and put some vehicles on it."""
    rng = site.rng
    x, y = site.spot(0.2)
    if rng.random() < 0.5:
        points = site.straight(x, y, site.grid)
    else:
        points = winding(rng, x, y, site.grid, rng.uniform(0.02, 0.15))
    width = rng.uniform(0.035, 0.085)
    paved = rng.random() < 0.7
    site.road(points, width, material="asphalt" if paved else "dirt", variant="marked" if paved else "")
    site.cars_on(points, width, rng.uniform(0.75, 1.0) * max(0.055, width), rng.randint(0, cars))
    return points


def add_farmhouses(site: Site, count: int) -> None:
    """Put up to ``count`` separate houses on free ground."""
    rng = site.rng
    for _ in range(count * 3):
        if count <= 0:
            break
        length = rng.uniform(0.07, 0.16)
        x, y = site.spot(0.06)
        house = site.building(
            x, y, length, length * rng.uniform(0.5, 0.95), site.grid + rng.choice((0, math.pi / 2))
        )
        count -= site.try_add(house, gap=0.02)


def farmland(site: Site) -> None:
    """Fields in strips of different crops, separated by tracks."""
    rng = site.rng
    site.ground("dry grass")
    strips, across = rng.randint(2, 5), rng.randint(1, 4)
    cell_w, cell_h = 1.6 / strips, 1.6 / across
    shift = rng.uniform(-0.2, 0.2)
    for i in range(strips):
        for j in range(across):
            forward = -0.8 + (i + 0.5) * cell_w + shift
            sideways = -0.8 + (j + 0.5) * cell_h + (0.15 * (i % 2))
            x, y = site.along(0.5, 0.5, forward, sideways)
            field = rectangle(x, y, cell_w - 0.012, cell_h - 0.012, site.grid)
            material = rng.choices(("crop", "ripe crop", "ploughed", "grass"), (0.45, 0.25, 0.2, 0.1))[0]
            turn = site.grid + rng.choice((0, math.pi / 2))
            if box_area(clip_box(bounds(field))) > 0:
                site.area(field, material, angle=turn, tone=site.tone(0.2), label="farmland")
    if rng.random() < 0.65:
        add_country_road(site)
    add_farmhouses(site, rng.choice((0, 1, 1, 2, 3)))
    site.trees(rng.randint(0, 12))


def forest(site: Site) -> None:
    """A closed canopy, sometimes with a clearing, a road or a house."""
    rng = site.rng
    texture = rng.choice(("canopy", "canopy", "canopy coarse", "canopy fine"))
    site.ground("woods", variant=texture, tone=site.tone(0.25), label="woodland")
    if rng.random() < 0.5:
        add_country_road(site, cars=2)
    for _ in range(rng.choice((0, 1, 1, 2))):
        x, y = site.spot(0.2)
        clearing = blob(rng, x, y, rng.uniform(0.1, 0.2))
        site.area(clearing, rng.choice(("grass", "bare", "dry grass")))
        length = rng.uniform(0.08, 0.15)
        if rng.random() < 0.75:
            site.try_add(
                site.building(x, y, length, length * rng.uniform(0.55, 0.9), rng.uniform(0, math.pi))
            )


def meadow(site: Site) -> None:
    """Grassland with scattered trees."""
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn")), tone=site.tone(0.2))
    site.stains(("grass", "lawn", "dry grass", "bare"), rng.randint(0, 5))
    if rng.random() < 0.5:
        add_country_road(site)
    add_farmhouses(site, rng.choice((0, 0, 1, 1, 2)))
    site.trees(rng.randint(2, 16))


def bare_land(site: Site) -> None:
    """Bare earth, with tracks and few things on it."""
    rng = site.rng
    site.ground("bare", tone=site.tone(0.2))
    site.stains(("bare", "sand", "dirt", "dry grass", "gravel"), rng.randint(1, 6))
    if rng.random() < 0.7:
        add_country_road(site)
    add_farmhouses(site, rng.choice((0, 0, 1, 2)))
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        site.try_add(site.vehicle(*site.spot(), rng.uniform(0.06, 0.1), rng.uniform(0, math.pi)))


def add_ships(site: Site, count: int, low: float, high: float, *, inside: float = 1.0) -> None:
    """Put up to ``count`` ships on free water, each with at least a share ``inside`` in the image."""
    rng = site.rng
    heading = rng.uniform(0, 2 * math.pi)
    for _ in range(count * 4):
        if count <= 0:
            break
        length = rng.uniform(low, high)
        variant = rng.choices(("cargo", "container", "yacht"), (0.5, 0.2, 0.3))[0]
        sailing = rng.random() < 0.35
        ship = Item(
            "ship",
            *site.spot(0.04),
            length=length,
            width=length * (rng.uniform(0.26, 0.36) if variant == "yacht" else rng.uniform(0.16, 0.26)),
            angle=heading + rng.choice((0, 0, rng.uniform(0, 6.28))),
            colour="white" if variant == "yacht" else weighted(rng, _SHIP_COLOURS),
            variant=variant,
            height=rng.uniform(0.5, 1.6) if sailing else 0.0,
            tone=site.tone(),
            label="ship",
            category="ship",
        )
        count -= site.try_add(ship, gap=0.02, visible=inside)


def sea(site: Site) -> None:
    """Open water with ships."""
    rng = site.rng
    site.ground("water", variant=rng.choice(("water", "water", "waves")), label="water")
    if rng.random() < 0.12:
        for _ in range(rng.randint(1, 2)):
            island = blob(rng, *site.spot(0.0), rng.uniform(0.08, 0.2))
            site.area(island, rng.choice(("woods", "sand")))
            site.claim(box_polygon(bounds(island)))
    low = rng.choice((rng.uniform(0.06, 0.1), rng.uniform(0.09, 0.2)))
    add_ships(site, rng.choices((1, 2, 3, 4, 6, 8), (3, 4, 4, 3, 2, 1))[0], low, low * rng.uniform(1.1, 1.9))


def beach(site: Site) -> None:
    """Land, a strip of sand with surf, and the sea."""
    rng = site.rng
    site.ground(rng.choice(("sand", "grass", "dry grass")))
    shore = winding(rng, 0.5, 0.5, site.grid, rng.uniform(0.02, 0.08))
    depth = [place(((0, 1.6),), x, y, site.grid)[0] for x, y in shore]
    breadth = rng.uniform(0.08, 0.28)
    back = [place(((0, -breadth),), x, y, site.grid)[0] for x, y in shore]
    site.area(shore + back[::-1], "sand")
    site.area(shore + depth[::-1], "water", label="water")
    foam = [place(((0, 0.01),), x, y, site.grid)[0] for x, y in shore]
    site.add(
        Item("marking", points=tuple(foam), colour="white", width=rng.uniform(0.008, 0.025)), claim=False
    )
    sea_side = site.along(0.5, 0.5, 0, 0.3)
    site.claim_band(shore, 0.1)
    _ships_beyond(site, sea_side, rng.choice((0, 1, 1, 2, 3)))
    inland = site.along(0.5, 0.5, 0, -0.38)
    if rng.random() < 0.5:
        site.road(site.straight(*inland, site.grid), rng.uniform(0.04, 0.06), variant="marked")
    for _ in range(rng.randint(0, 3)):
        x, y = site.along(*inland, rng.uniform(-0.5, 0.5), rng.uniform(-0.1, 0.1))
        length = rng.uniform(0.08, 0.14)
        site.try_add(site.building(x, y, length, 0.7 * length, site.grid))


def _ships_beyond(site: Site, centre: Point, count: int) -> None:
    rng = site.rng
    for _ in range(count):
        x, y = site.along(*centre, rng.uniform(-0.4, 0.4), rng.uniform(-0.08, 0.25))
        length = rng.uniform(0.08, 0.18)
        ship = Item(
            "ship",
            x,
            y,
            length=length,
            width=0.3 * length,
            angle=rng.uniform(0, 6.28),
            colour="white",
            variant="yacht",
            label="ship",
            category="ship",
        )
        site.try_add(ship, gap=0.02, visible=1.0)


def pond(site: Site) -> None:
    """A pond in grass or woods, with trees around it."""
    rng = site.rng
    wooded = rng.random() < 0.3
    if wooded:
        site.ground("woods", variant="canopy", tone=site.tone(0.2), label="woodland")
    else:
        site.ground(rng.choice(("grass", "lawn", "dry grass")), tone=site.tone(0.2))
        site.stains(("grass", "dry grass", "bare", "lawn"), rng.randint(0, 4))
    x, y = site.spot(0.3)
    outline = blob(rng, x, y, rng.uniform(0.13, 0.3))
    site.area(place([(px - x, py - y) for px, py in outline], x, y, 0, 1.1, 1.1), "dirt")
    site.area(outline, "water", tone=site.tone(), label="water", landmark="pond")
    site.claim(box_polygon(bounds(outline)))
    if rng.random() < 0.4:
        add_country_road_around(site)
    if not wooded:
        add_farmhouses(site, rng.choice((0, 1, 1, 2, 3)))
        site.trees(rng.randint(3, 18))


def add_country_road_around(site: Site) -> None:
    """Lay a straight road along one side of the image where nothing is taken, with vehicles."""
    rng = site.rng
    for _ in range(6):
        edge = rng.uniform(0.06, 0.2)
        x, y = rng.choice(((edge, 0.5), (1 - edge, 0.5), (0.5, edge), (0.5, 1 - edge)))
        upright = x != 0.5
        box = (x - 0.04, 0, x + 0.04, 1) if upright else (0, y - 0.04, 1, y + 0.04)
        if site.is_free(box_polygon(box)):
            points = site.straight(x, y, math.pi / 2 if upright else 0.0)
            width = rng.uniform(0.045, 0.075)
            site.road(points, width, variant="marked")
            site.cars_on(points, width, width, rng.randint(0, 3))
            return


def river(site: Site) -> None:
    """A winding river between woods or fields."""
    rng = site.rng
    _banks(site)
    course = winding(rng, *site.spot(0.35), site.grid, rng.uniform(0.05, 0.2))
    width = rng.uniform(0.12, 0.3)
    site.add(Item("stream", points=tuple(course), width=width, label="water", landmark="river"), claim=False)
    site.claim_band(course, width * 1.05)
    if width > 0.17 and rng.random() < 0.5:
        x, y = course[len(course) // 2]
        ax, ay = course[len(course) // 2 + 1]
        length = rng.uniform(0.09, 0.16)
        ship = Item(
            "ship",
            x,
            y,
            length=length,
            width=0.26 * length,
            angle=math.atan2(ay - y, ax - x),
            colour="white",
            variant="yacht",
            label="ship",
            category="ship",
        )
        if site.visible(ship) == 1.0:
            site.add(ship)
    add_farmhouses(site, rng.choice((0, 1, 2, 3)))
    site.trees(rng.randint(4, 20))


def _banks(site: Site) -> None:
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn", "dry grass", "bare")), tone=site.tone(0.15))
    site.stains(("grass", "dry grass", "bare", "lawn"), rng.randint(0, 4))
    for _ in range(rng.randint(1, 4)):
        patch = blob(rng, *site.spot(0), rng.uniform(0.12, 0.35))
        site.area(patch, "woods", variant="canopy", height=0.015, tone=site.tone(), label="woodland")


def bridge(site: Site) -> None:
    """One or two bridges that carry roads over a straight river."""
    rng = site.rng
    _banks(site)
    x, y = site.spot(0.38)
    width = rng.uniform(0.12, 0.34)
    course = winding(rng, x, y, site.grid, 0.02)
    site.add(Item("stream", points=tuple(course), width=width, label="water", landmark="river"), claim=False)
    cross = site.grid + math.pi / 2 + rng.uniform(-0.35, 0.35)
    # A river course drifts by up to its bend, so the deck reaches a little over both banks.
    length = (width + 0.05) / abs(math.sin(cross - site.grid))
    offsets = (0.0,) if rng.random() < 0.6 else (-rng.uniform(0.14, 0.22), rng.uniform(0.14, 0.22))
    taken = []
    for offset in offsets:
        bx, by = site.along(x, y, offset, 0)
        road_width = rng.uniform(0.04, 0.085)
        material = rng.choice(("asphalt", "concrete"))
        for sign in (-1, 1):
            start = place(((sign * length / 2, 0),), bx, by, cross)[0]
            end = place(((sign * 1.5, 0),), bx, by, cross)[0]
            site.road([start, end], road_width * 0.9, material="asphalt", variant="marked")
        deck = Item(
            "bridge",
            bx,
            by,
            length=length,
            width=road_width,
            angle=cross,
            material=material,
            variant=rng.choice(("truss", "", "")),
            tone=site.tone() * 1.15,
            label="bridge",
            category="bridge",
        )
        site.add(deck)
        taken.append((place(((-1.2, 0), (1.2, 0)), bx, by, cross), road_width))
    site.claim_band(course, width * 1.1)
    add_farmhouses(site, rng.choice((0, 1, 2, 4)))
    site.trees(rng.randint(6, 24))
    for line, road_width in taken:
        if rng.random() < 0.5:
            site.cars_on(line, road_width, 0.06, rng.randint(0, 3))


NATURE = {
    "farmland": farmland,
    "forest": forest,
    "meadow": meadow,
    "bare land": bare_land,
    "sea": sea,
    "beach": beach,
    "pond": pond,
    "river": river,
    "bridge": bridge,
}
