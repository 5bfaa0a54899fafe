"""What the status of an export has beside what all kinds have that end: artifact, targets, progress of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.batch.kind import Own
from swiftop.batch.observe import Observed
from swiftop.batch.status import output_status
from swiftop.kinds.modelexport.command import MODEL_DIR
from swiftop.model.conditions import Aspect, as_before, by_type, told
from swiftop.model.facts import Cause, Report
from swiftop.model.kind import Frame, Status
from swiftop.model.text import printable
from swiftop.model.times import duration
from swiftop.model.verdict import Blocked, Failed, Finished, Phase, Waiting
from swiftop.reasons import SOURCE, ConditionType, Reason
from swiftop.runner import causes
from swiftop.runner.hub import causes as hub_causes
from swiftop.swift.pages import page

VOLATILE = frozenset({"progress", "display"})

_MEASURES = ("bytesDone", "bytesTotal", "etaSeconds")
_PHASES = ("Preparing", "Merging", "Verifying", "Quantizing", "Pushing", "Finished")
_UNVERIFIED = frozenset({causes.VERIFICATION_FAILED.reason, hub_causes.CONTENT_CHANGED.reason})
"""The result is not, or no longer, what was verified."""


def own(frame: Frame[ModelExport, Observed]) -> Own:
    """Members and conditions of an export."""
    export, report = frame.resource, frame.observed.report or {}
    artifact = _artifact(report, output_status(frame)) or frame.previous.get("artifact")
    targets = _published(export, report) or frame.previous.get("targets")
    progress = _progress(report, frame)
    members: Status = {
        "artifact": artifact,
        "targets": targets,
        "progress": progress,
        "display": _display(export, artifact, targets or (), progress, frame.previous),
    }
    return Own(members=members, aspects=_aspects(frame, report, artifact, targets or ()), reported=bool(progress))


def _artifact(report: Report | Mapping[str, Any], output: Status | None) -> Status | None:
    digest = report.get("artifactDigest")
    if not digest:
        return None
    found: Status = {"digest": f"sha256:{digest}"}
    if output:
        found |= {"claimName": output["claimName"], "path": f"{output['path']}/{MODEL_DIR}"}
    if (size := report.get("artifactBytes")) is not None:
        found["bytes"] = size
    if dtype := report.get("artifactDtype"):
        found["dtype"] = dtype
    if quantization := report.get("artifactQuantization"):
        found["quantization"] = quantization
    if (loss := report.get("artifactEvalLoss")) is not None:
        found["evalLoss"] = loss
    if (equal := report.get("templateEqual")) is not None:
        found["templateEqual"] = bool(equal)
    return found


def _published(export: ModelExport | None, report: Mapping[str, Any]) -> list[Status]:
    """What is on the hubs, in the order of the spec; nothing of a target that is not."""
    found = []
    for number, target in enumerate(export.spec.push if export else ()):
        commit = report.get(f"commit{number}")
        if export is None or not commit:
            continue
        known = {name: report.get(f"{name}{number}") for name in ("visibility", "commit", "files", "bytes")}
        where = {"hub": target.hub, "repo": target.repo, "revision": target.revision}
        by_size = {"filesBySize": report.get(f"bySize{number}") or None}
        url = page(target.hub, target.repo, export.spec.runtime.env, dataset=False)
        members = {**where, **known, **by_size, "url": url}
        found.append({name: value for name, value in members.items() if value is not None})
    return found


def _progress(report: Mapping[str, Any], frame: Frame[ModelExport, Observed]) -> Status | None:
    phase = report.get("phase")
    if phase is None or not 0 <= int(phase) < len(_PHASES):
        known = dict(frame.previous.get("progress") or {})
        known.pop("etaSeconds", None)  # of a pod that is not heard any more
        return known or None
    found: Status = {"phase": _PHASES[int(phase)]}
    if isinstance(frame.outlook, Waiting):
        told = _MEASURES if frame.outlook.phase is Phase.RUNNING else _MEASURES[:2]
        found |= {name: report[name] for name in told if name in report}
    return found


def _aspects(
    frame: Frame[ModelExport, Observed],
    report: Mapping[str, Any],
    artifact: Status | None,
    targets: Sequence[Status],
) -> dict[str, Aspect]:
    outlook, before = frame.outlook, by_type(frame.previous)
    failed = outlook.cause if isinstance(outlook, Failed) else None
    there = artifact or report.get("merged") or before.get(ConditionType.MERGED, {}).get("status") == "True"
    merged = Aspect("True", Reason.MERGED) if there else _not_yet(failed)
    return {
        ConditionType.SOURCE_READY: _source_ready(frame, before),
        ConditionType.MERGED: merged,
        ConditionType.VERIFIED: _verified(frame, report, before, failed),
        ConditionType.PUSHED: _pushed(frame, failed, targets),
    }


def _not_yet(failed: Cause | None) -> Aspect:
    return told("False", failed) if failed else Aspect("Unknown", Reason.PENDING)


def _source_ready(frame: Frame[ModelExport, Observed], before: Mapping[str, Mapping[str, Any]]) -> Aspect:
    outlook = frame.outlook
    if isinstance(outlook, Waiting | Blocked) and outlook.cause.reason in SOURCE:
        return told("False", outlook.cause)
    if frame.observed.job is not None:
        return Aspect("True", Reason.READY)
    return as_before(before, ConditionType.SOURCE_READY)


def _verified(
    frame: Frame[ModelExport, Observed],
    report: Mapping[str, Any],
    before: Mapping[str, Mapping[str, Any]],
    failed: Cause | None,
) -> Aspect:
    if failed is not None and failed.reason in _UNVERIFIED:
        return told("False", failed)
    known = before.get(ConditionType.VERIFIED, {})
    if report.get("verified"):
        return Aspect("True", Reason.VERIFIED, _looked_at(report))
    if known.get("status") == "True":
        return Aspect("True", Reason.VERIFIED, known.get("message", ""))
    if frame.resource is not None and frame.resource.spec.verify == "Skip":
        return Aspect("False", Reason.VERIFICATION_SKIPPED)
    return _not_yet(failed)


def _looked_at(report: Mapping[str, Any]) -> str:
    """What was found of a quantized model; of any other the condition says it by itself."""
    quantization = report.get("artifactQuantization")
    if not quantization:
        return ""
    tensors, compared = report.get("tensors"), report.get("compared")
    return (
        f"config.json says {quantization}, all {tensors} tensors can be read, {compared} of them were compared with "
        "the verified model that was quantized; how well it answers was not measured"
    )


def _pushed(frame: Frame[ModelExport, Observed], failed: Cause | None, targets: Sequence[Status]) -> Aspect:
    if frame.resource is not None and not frame.resource.spec.push:
        return Aspect("False", Reason.NOTHING_TO_PUSH)
    if not isinstance(frame.outlook, Finished):
        return _not_yet(failed)
    texts = [
        f"{target['hub']}:{target['repo']}: {target['filesBySize']} of {target['files']} files were compared by their "
        "size alone, since the hub tells no digest of them"
        for target in targets
        if target.get("filesBySize")
    ]
    return Aspect("True", Reason.PUSHED, "; ".join(texts))


def _display(
    export: ModelExport | None,
    artifact: Status | None,
    targets: Sequence[Status],
    progress: Status | None,
    previous: Mapping[str, Any],
) -> Status:
    known = previous.get("display") or {}
    texts = {"source": _source(export), "targets": _targets(export, len(targets))} if export else dict(known)
    if artifact:
        texts |= {
            "dtype": artifact.get("quantization") or artifact.get("dtype", ""),
            "size": size_text(artifact["bytes"]) if "bytes" in artifact else "",
        }
    elif export and (wanted := _wanted_type(export)):
        texts["dtype"] = wanted
    texts |= _progress_texts(progress or {})
    return {name: printable(text) for name, text in texts.items() if text}  # the path is of anybody's making


def _wanted_type(export: ModelExport) -> str:
    quantization = export.spec.quantization
    return quantization.words if quantization else export.spec.dtype or ""


def _source(export: ModelExport) -> str:
    source = export.spec.source
    if source.sft_run_ref is not None:
        return f"{source.sft_run_ref.name}/{source.sft_run_ref.checkpoint}"
    claim = source.persistent_volume_claim
    return f"{claim.claim_name}/{claim.path}" if claim else source.id or ""


def _targets(export: ModelExport, done: int) -> str:
    """modelscope:me/a, huggingface:me/a (1/2)"""
    names = ", ".join(f"{target.hub}:{target.repo}" for target in export.spec.push)
    return f"{names} ({done}/{len(export.spec.push)})" if names else ""


def _progress_texts(progress: Mapping[str, Any]) -> dict[str, str]:
    done, total, phase = progress.get("bytesDone"), progress.get("bytesTotal"), progress.get("phase", "")
    text = f"{phase} {done * 100 // total}%" if done is not None and total else str(phase)
    eta = progress.get("etaSeconds")
    return {"progress": text, "eta": duration(eta) if eta is not None else ""}


def size_text(size: int) -> str:
    """Bytes as people say them: 15.2 GB, 512.0 MB."""
    value, units = float(size), ("B", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {units[-1]}"
