"""Seeded procedural aerial scenes with exact labels for every task of RSUniVLM.

Reading order: ``geometry`` and ``textures`` (shapes and grain), ``style`` (sun, season, sensor), ``items``
(what can be on the ground, its outlines and labels), ``site`` and ``layouts_*`` (composition of a scene),
``objects``, ``structures`` and ``painter`` (drawing), ``scene`` and ``pairs`` (the two products);
``expressions``, ``questions``, ``captions`` and ``change_captions`` (language), ``samples`` (records),
``writer`` and ``cli``.
"""

from data_tools.synth.pairs import Pair, make_pair
from data_tools.synth.scene import SCENE_CLASSES, Scene, make_scene

__all__ = ["SCENE_CLASSES", "Pair", "Scene", "make_pair", "make_scene"]
