"""Trainings of a tiny model on a real GPU: precisions, tuners, DeepSpeed, several GPUs, and what an image may lack.

Each takes half a minute, nearly all of it imports, so they run several at a time.
"""

from __future__ import annotations

import os
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from swiftop.runner import causes, image
from swiftop.runner.ends import EndClass
from tests.bench.gpu_assets import TINY_BF16, TINY_CHATS, TINY_FLOAT32
from tests.bench.gpu_pods import Figures, Object, Pod, Site, follow, installed, make_pod, outcome, stop_and_resume

AT_A_TIME = max(6, (os.cpu_count() or 0) * 3 // 8)
SECONDS = 120  # of one execution
STEPS, STEPS_TO_STOP_IN = 3, 120  # the latter so many that SIGTERM comes before the end


@dataclass(frozen=True)
class Variant:
    """A training of the tiny model, and how it has to end."""

    name: str
    training: Object
    model: str = TINY_BF16
    spec: Object = field(default_factory=dict)
    ends: EndClass = causes.MAX_STEPS
    flash_attn: bool = True
    gpus: int = 1
    stopped: bool = False  # by SIGTERM, and resumed
    needs: str = ""  # makes sense only where this package is installed
    lacks: str = ""  # only where it is not

    def possible(self, gpus: int) -> bool:
        """Whether this machine can run it."""
        packages = (not self.needs or installed(self.needs)) and not (self.lacks and installed(self.lacks))
        return bool(packages) and self.gpus <= gpus


PLAIN = {"packing": False, "attention": "sdpa"}
PACKED = {"packing": True, "attention": "flash_attn"}
ZERO2, ZERO3 = {**PLAIN, "deepspeed": "zero2"}, {**PLAIN, "deepspeed": "zero3"}
FULL = {"tuner": {"type": "full"}}
# The device is there and CUDA does not work, as with a driver that is too old: ms-swift would train on the CPU.
NO_CUDA = {"runtime": {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "-1"}]}}
NO_FLASH, NO_GPU = image.FLASH_ATTENTION_MISSING, causes.GPU_MISSING
VARIANTS = (  # the longest first
    Variant("two-gpus", PLAIN, gpus=2, stopped=True),
    Variant("zero2", ZERO2, gpus=2, stopped=True, needs="deepspeed"),
    Variant("zero3", ZERO3, gpus=2, stopped=True, needs="deepspeed"),
    Variant("full-zero3", ZERO3, spec=FULL, gpus=2, stopped=True, needs="deepspeed"),
    Variant("zero2-on-one", ZERO2, needs="deepspeed"),
    Variant("packed-fp16", {**PACKED, "precision": "fp16"}),
    Variant("packed-float32-as-it-is", {**PACKED, "precision": None}, TINY_FLOAT32),
    Variant("fp16", {**PLAIN, "precision": "fp16"}),
    Variant("fp32", {**PLAIN, "precision": "fp32"}),
    Variant("float32-as-bf16", {**PLAIN, "precision": "bf16"}, TINY_FLOAT32),
    Variant("float32-as-fp16", {**PLAIN, "precision": "fp16"}, TINY_FLOAT32),
    Variant("float32-as-it-is", {**PLAIN, "precision": None}, TINY_FLOAT32),
    Variant("full-bf16", {**PLAIN, "precision": "bf16"}, spec=FULL),
    Variant("full-fp16", {**PLAIN, "precision": "fp16"}, spec=FULL),
    Variant("full-fp32", {**PLAIN, "precision": "fp32"}, spec=FULL),
    Variant("padding-free", {**PACKED, "packing": False, "paddingFree": True}),
    Variant("brought-flash-attn", PACKED, flash_attn=False, lacks="flash-attn"),
    Variant("no-flash-attn", {**PACKED, "acceleration": "Off"}, ends=NO_FLASH, flash_attn=False, lacks="flash-attn"),
    Variant("no-flash-attn-3", {**PACKED, "attention": "flash_attention_3"}, ends=NO_FLASH, lacks="flash-attn-3"),
    Variant("no-deepspeed", ZERO2, ends=image.DEEPSPEED_MISSING, lacks="deepspeed"),
    Variant("too-few-gpus", PLAIN, spec={"resources": {"gpus": 16}}, ends=NO_GPU),
    Variant("no-cuda", PLAIN, spec=NO_CUDA, ends=NO_GPU),
    Variant("no-cuda-fp16", {**PLAIN, "precision": "fp16"}, spec=NO_CUDA, ends=NO_GPU),
)
NAMES = tuple(variant.name for variant in VARIANTS)


def variants(site: Site) -> Figures:
    """Those that were asked for and are possible here, as they end."""
    asked = [variant for variant in VARIANTS if variant.name in (site.variants or NAMES)]
    chosen = [variant for variant in asked if variant.possible(site.visible)]
    yield "impossible here", [variant.name for variant in asked if variant not in chosen]
    good = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = {pool.submit(_figures, site, variant): variant.name for variant in chosen}
        for done in as_completed(running):
            figures = done.result()
            good.append(figures["as it should"])
            yield running[done], figures
    yield "as it should", all(good)


def _figures(site: Site, variant: Variant) -> Object:
    try:
        pod = tiny_pod(site, variant)
        if variant.stopped:
            return dict(stop_and_resume(site, pod, processes=variant.gpus, seconds=SECONDS))
        return outcome(follow(pod.start(), seconds=site.left(SECONDS)), variant.ends)
    except Exception:  # the others may still tell something
        return {"error": traceback.format_exc(), "as it should": False}


def tiny_pod(site: Site, variant: Variant) -> Pod:
    """A few steps of the tiny model."""
    training = {
        "maxLength": 512, "perDeviceBatchSize": 4, "gradientAccumulationSteps": 1, "loggingSteps": 1,
        "maxSteps": STEPS_TO_STOP_IN if variant.stopped else STEPS, **variant.training,
    }  # fmt: skip
    return make_pod(
        site, variant.name, model=variant.model, dataset=TINY_CHATS, flash_attn=variant.flash_attn,
        training=training, tracking={"swanlab": None}, **{"resources": {"gpus": variant.gpus}, **variant.spec},
    )  # fmt: skip
