"""Built-up scenes: residential areas of three densities, industry, storage tanks, parking."""

from __future__ import annotations

import math
from dataclasses import replace

from data_tools.synth.geometry import Point, place, rectangle
from data_tools.synth.items import Item
from data_tools.synth.site import Site


def street_grid(
    site: Site, block_length: float, block_width: float, width: float
) -> list[tuple[list[Point], float]]:
    """Lay parallel streets a block apart and a few cross streets; return (polyline, width) of each."""
    rng = site.rng
    streets = []
    shift = rng.uniform(-0.5, 0.5) * block_width
    count = math.ceil(0.8 / block_width)
    for i in range(-count, count + 1):
        x, y = site.along(0.5, 0.5, 0, shift + i * block_width)
        streets.append((site.straight(x, y, site.grid), width))
    shift = rng.uniform(-0.5, 0.5) * block_length
    count = math.ceil(0.8 / block_length)
    for i in range(-count, count + 1):
        if rng.random() < 0.75:
            x, y = site.along(0.5, 0.5, shift + i * block_length, 0)
            streets.append(
                (site.straight(x, y, site.grid + math.pi / 2), width * rng.choice((1.0, 1.0, 1.3)))
            )
    for points, street_width in streets:
        site.road(points, street_width, variant=rng.choice(("kerb", "", "marked")))
    return streets


def house_rows(
    site: Site,
    streets: list[tuple[list[Point], float]],
    size: tuple[float, float],
    *,
    spacing: float,
    fill: float,
    visible: float = 0.3,
    only_side: int = 0,
) -> None:
    """Line the streets with houses of side ``size`` (low, high); ``only_side`` 1 or -1 builds on one side."""
    rng = site.rng
    for points, width in streets:
        (ax, ay), (bx, by) = points[0], points[-1]
        angle = math.atan2(by - ay, bx - ax)
        middle = ((ax + bx) / 2, (ay + by) / 2)
        for side in (only_side,) if only_side else (-1, 1):
            position = -0.8 + rng.uniform(0, spacing)
            while position < 0.8:
                length = rng.uniform(*size)
                depth = length * rng.uniform(0.6, 0.95)
                away = side * (width / 2 + 0.025 + depth / 2 + rng.uniform(0, 0.012))
                x, y = place(((position, away),), *middle, angle)[0]
                if -0.1 < x < 1.1 and -0.1 < y < 1.1 and rng.random() < fill:
                    house = site.building(x, y, length, depth, angle)
                    site.try_add(house, gap=0.004, visible=visible)
                position += length + spacing * rng.uniform(0.6, 1.4)


def surroundings(site: Site) -> None:
    """Give one side of the place to something else: houses, woods, or paved ground, often beyond a road."""
    rng = site.rng
    across = site.grid + rng.choice((0, math.pi / 2, math.pi, -math.pi / 2))
    depth = rng.uniform(0.18, 0.42)
    x, y = place(((0, depth),), 0.5, 0.5, across)[0]
    kind = rng.choice(("houses", "houses", "woods", "paved", "bare"))
    land = rectangle(*place(((0, 0.75),), x, y, across)[0], 3.0, 1.5, across)
    if kind == "woods":
        site.area(
            land, "woods", variant=rng.choice(("canopy", "canopy fine")), height=0.015, label="woodland"
        )
    elif kind == "houses":
        site.area(land, rng.choice(("lawn", "grass", "dry grass", "concrete")), tone=site.tone())
    else:
        site.area(land, "asphalt" if kind == "paved" else "bare", tone=site.tone())
    if kind == "houses":
        width = rng.uniform(0.035, 0.05)
        lanes = [place(((0, step),), x, y, across)[0] for step in (0.02, 0.3)]
        streets = [(site.straight(*lane, across), width) for lane in lanes]
        for points, _ in streets:
            site.road(points, width)
        beyond = [(points, width) for points, _ in streets]
        house_rows(site, beyond, (0.07, 0.11), spacing=0.015, fill=0.9, only_side=1)
    else:
        site.road(site.straight(x, y, across), rng.uniform(0.045, 0.07), variant=rng.choice(("", "marked")))
    site.claim(land)


def dense_residential(site: Site) -> None:
    """Narrow blocks packed with houses."""
    rng = site.rng
    site.ground(rng.choice(("concrete", "dirt", "dry grass", "gravel")), tone=site.tone(0.15))
    streets = street_grid(site, rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.42), rng.uniform(0.035, 0.05))
    house_rows(site, streets, (0.07, 0.13), spacing=0.012, fill=0.97)
    site.trees(rng.randint(5, 30), 0.025, 0.05)
    for points, width in streets[: rng.randint(0, 3)]:
        site.cars_on(points, width, 0.05, rng.randint(0, 4))


def medium_residential(site: Site) -> None:
    """A street close up: a few houses with gardens, large trees, and cars big enough to see well."""
    rng = site.rng
    site.ground(rng.choice(("lawn", "grass")), tone=site.tone(0.15))
    site.stains(("grass", "lawn", "dry grass", "bare"), rng.randint(1, 5))
    width = rng.uniform(0.12, 0.2)
    x, y = site.along(0.5, 0.5, rng.uniform(-0.2, 0.2), rng.uniform(-0.25, 0.25))
    streets = [(site.straight(x, y, site.grid), width)]
    if rng.random() < 0.4:
        streets.append((site.straight(x, y, site.grid + math.pi / 2), width * 0.9))
    for points, street_width in streets:
        site.road(points, street_width, variant=rng.choice(("kerb", "marked")))
    house_rows(site, streets, (0.18, 0.32), spacing=0.05, fill=0.9, visible=0.3)
    for _ in range(rng.randint(0, 3)):
        length = rng.uniform(0.16, 0.26)
        site.try_add(site.building(*site.spot(), length, 0.7 * length, site.grid), visible=0.4)
    for points, street_width in streets:
        site.cars_on(points, street_width, rng.uniform(0.07, 0.12), rng.choice((3, 4, 6, 8, 10)))
    site.trees(rng.randint(12, 40), 0.06, 0.15)


def sparse_residential(site: Site) -> None:
    """Single houses between trees, with a lane."""
    rng = site.rng
    site.ground(rng.choice(("grass", "lawn", "dry grass")), tone=site.tone(0.2))
    site.stains(("grass", "lawn", "dry grass", "bare"), rng.randint(1, 5))
    x, y = site.spot(0.2)
    lane = site.straight(x, y, site.grid)
    width = rng.uniform(0.04, 0.07)
    site.road(lane, width, variant=rng.choice(("", "marked")), material=rng.choice(("asphalt", "dirt")))
    for _ in range(rng.randint(2, 5) * 3):
        length = rng.uniform(0.12, 0.22)
        house = site.building(*site.spot(0.08), length, length * rng.uniform(0.55, 0.95), site.grid)
        if sum(item.kind == "building" for item in site.items) < 6:
            site.try_add(house, gap=0.04)
    site.cars_on(lane, width, max(0.055, 0.9 * width), rng.randint(0, 2))
    site.trees(rng.randint(20, 70), 0.04, 0.1)


def industrial(site: Site) -> None:
    """Large halls with flat or shed roofs on paved ground, with yards, trucks, sometimes tanks."""
    rng = site.rng
    site.ground(rng.choice(("concrete", "asphalt", "gravel", "bare")), tone=site.tone(0.15))
    streets = street_grid(site, rng.uniform(0.7, 1.0), rng.uniform(0.45, 0.7), rng.uniform(0.05, 0.08))
    if rng.random() < 0.35:
        add_tanks(site, *site.spot(0.25), rng.randint(1, 2), rng.randint(1, 3), rng.uniform(0.07, 0.11))
    for _ in range(60):
        length = rng.uniform(0.14, 0.42)
        x, y = rng.uniform(-0.05, 1.05), rng.uniform(-0.05, 1.05)
        hall = site.building(
            x, y, length, length * rng.uniform(0.4, 0.9), site.grid + rng.choice((0, math.pi / 2))
        )
        variant = rng.choice(("flat", "sheds", "sheds", "gable"))
        colour = rng.choices(("white", "gray", "blue", "red", "brown"), (4, 4, 3, 1, 1))[0]
        hall = replace(hall, variant=variant, colour=colour, height=rng.uniform(0.03, 0.05))
        site.try_add(hall, gap=0.0, visible=0.5)
    for _ in range(rng.randint(0, 8)):
        car = site.vehicle(*site.spot(), rng.uniform(0.05, 0.07), site.grid + rng.choice((0, math.pi / 2)))
        site.try_add(car, gap=0.0)
    for points, width in streets[:2]:
        site.cars_on(points, width, 0.055, rng.randint(0, 2))
    site.trees(rng.randint(0, 10))


def add_tanks(site: Site, x: float, y: float, rows: int, columns: int, diameter: float) -> None:
    """Put a regular group of equal storage tanks around (x, y), on a paved or bare pad."""
    rng = site.rng
    pitch = diameter * rng.uniform(1.2, 1.7)
    colour = rng.choices(("white", "gray", "brown", "green", "blue"), (6, 2, 1, 0.6, 0.4))[0]
    pad = rectangle(x, y, (columns + 0.3) * pitch, (rows + 0.3) * pitch, site.grid)
    site.area(pad, rng.choice(("gravel", "concrete", "bare")), tone=site.tone())
    variant = rng.choice(("", "", "floating"))
    for row in range(rows):
        for column in range(columns):
            tx, ty = site.along(x, y, (column - (columns - 1) / 2) * pitch, (row - (rows - 1) / 2) * pitch)
            tank = Item(
                "storage tank",
                tx,
                ty,
                length=diameter,
                width=diameter,
                angle=rng.uniform(0, 6.28),
                colour=colour,
                variant=variant,
                height=diameter * rng.uniform(0.2, 0.35),
                tone=site.tone(0.06),
                label="storage tank",
                category="storage tank",
            )
            site.try_add(tank, gap=0.0, visible=0.75)


def storage_tanks(site: Site) -> None:
    """Groups of tanks of one size each, with service buildings and pipes."""
    rng = site.rng
    site.ground(rng.choice(("bare", "dry grass", "grass", "gravel", "dirt")), tone=site.tone(0.15))
    site.stains(("bare", "dirt", "gravel", "dry grass"), rng.randint(1, 5))
    if rng.random() < 0.45:
        surroundings(site)
    if rng.random() < 0.5:
        x, y = site.spot(0.1)
        site.road(site.straight(x, y, site.grid), rng.uniform(0.04, 0.07))
    groups = rng.choice((1, 1, 2, 3, 4))
    for _ in range(3 * groups):
        if sum(item.kind == "storage tank" for item in site.items) >= 3 * groups:
            break
        diameter = rng.choice((rng.uniform(0.05, 0.08), rng.uniform(0.07, 0.14), rng.uniform(0.12, 0.3)))
        most = max(1, min(5, int(0.5 / diameter)))
        add_tanks(site, *site.spot(0.22), rng.randint(1, max(1, most - 1)), rng.randint(1, most), diameter)
    for _ in range(rng.randint(0, 5)):
        length = rng.uniform(0.07, 0.16)
        site.try_add(site.building(*site.spot(), length, 0.6 * length, site.grid, variant="flat"))
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        site.try_add(site.vehicle(*site.spot(), rng.uniform(0.055, 0.07), site.grid))
    site.trees(rng.randint(0, 8))


def parking(site: Site) -> None:
    """A parking lot: rows of marked bays with cars."""
    rng = site.rng
    site.ground(rng.choice(("asphalt", "asphalt", "concrete")), tone=site.tone(0.15))
    if rng.random() < 0.5:
        edge = site.along(0.5, 0.5, 0, rng.choice((-0.62, 0.62)))
        site.area(rectangle(*edge, 2.0, 0.5, site.grid), rng.choice(("lawn", "grass", "concrete")))
        site.claim(rectangle(*edge, 2.0, 0.5, site.grid))
    if rng.random() < 0.45:
        length = rng.uniform(0.2, 0.4)
        site.try_add(
            site.building(*site.spot(0.15), length, 0.6 * length, site.grid, variant="flat"),
            gap=0.0,
            visible=0.4,
        )
    car = rng.uniform(0.065, 0.12)
    add_bays(site, car, rng.choice((0.15, 0.3, 0.5, 0.8)), rng.randint(1, 4))
    site.trees(rng.randint(0, 6), 0.05, 0.09)


def add_bays(site: Site, car: float, fill: float, rows: int, x: float = 0.5, y: float = 0.5) -> None:
    """Pave a lot around (x, y) with ``rows`` double rows of bays for cars of length ``car``.

    A share ``fill`` of the bays is used. Ground that is taken keeps what stands on it.
    """
    rng = site.rng
    bay, depth = car * 0.62, car * 1.2
    gap = depth * 2 + car * 1.6
    columns = rng.randint(4, max(5, int((0.45 if rows == 1 else 0.9) / bay)))
    lot = rectangle(x, y, (columns + 2) * bay, rows * gap + depth, site.grid)
    site.area(lot, "asphalt", tone=site.tone(0.08))
    for row in range(rows):
        for half in (-0.5, 0.5):
            sideways = (row - (rows - 1) / 2) * gap + half * depth
            for column in range(columns + 1):
                bx, by = site.along(x, y, (column - columns / 2) * bay, sideways)
                ends = place(((0, -depth / 2), (0, depth / 2)), bx, by, site.grid)
                if not site.is_free(rectangle(bx, by, 0.01, depth, site.grid)):
                    continue
                site.add(
                    Item("marking", points=tuple(ends), colour="white", width=0.005, tone=0.85), claim=False
                )
                if column == columns or rng.random() > fill:
                    continue
                cx, cy = site.along(bx, by, bay / 2, 0)
                vehicle = site.vehicle(cx, cy, car * rng.uniform(0.9, 1.0), site.grid + math.pi / 2)
                if vehicle.variant != "truck":
                    site.try_add(vehicle, gap=0.0)


TOWN = {
    "dense residential": dense_residential,
    "medium residential": medium_residential,
    "sparse residential": sparse_residential,
    "industrial": industrial,
    "storage tanks": storage_tanks,
    "parking": parking,
}
