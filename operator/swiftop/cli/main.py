"""The commands ``swiftop`` and ``kubectl swift``. Expected errors are one sentence on stderr, never a traceback.

What a command needs is imported when it runs: ``swiftop progress`` must not wait for kopf.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from swiftop import names
from swiftop.cli.preview import preview
from swiftop.errors import SwiftopError
from swiftop.shell.config import Config

app = typer.Typer(
    help="Fine-tune language models with ms-swift on Kubernetes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(preview)

_DEFAULT = Config()
_DEFAULT_KIND = "sftrun"

_Name = Annotated[str, typer.Argument(help="Its name.")]
_Kind = Annotated[str, typer.Option("--kind", "-k", help="Its kind, by the names that kubectl knows.")]
_Context = Annotated[str | None, typer.Option("--context", help="Of the kubeconfig. Default: the current one.")]
_Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Default: the kubeconfig's.")]


@app.command()
def run(
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", envvar="SWIFTOP_NAMESPACES", help="Watch only this one; may be repeated."),
    ] = None,
    operator_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Where the Lease and the platform defaults are.")
    ] = names.OPERATOR_NAMESPACE,
    leader_election: Annotated[
        bool, typer.Option(envvar="SWIFTOP_LEADER_ELECTION", help="Act only while holding the Lease.")
    ] = True,
    workers: Annotated[int, typer.Option(envvar="SWIFTOP_WORKERS", min=1, help="Objects looked at side by side.")] = (
        _DEFAULT.workers
    ),
    resync_seconds: Annotated[
        float, typer.Option(envvar="SWIFTOP_RESYNC_SECONDS", min=1, help="Between two full reads of the cluster.")
    ] = _DEFAULT.resync_seconds,
    progress_seconds: Annotated[
        float, typer.Option(envvar="SWIFTOP_PROGRESS_SECONDS", min=1, help="Between two looks at a running pod.")
    ] = _DEFAULT.progress_seconds,
    port: Annotated[int, typer.Option(envvar="SWIFTOP_PORT", help="Of /healthz and /metrics.")] = _DEFAULT.port,
    log_level: Annotated[str, typer.Option(envvar="SWIFTOP_LOG_LEVEL", help="debug, info, warning or error.")] = "info",
    log_json: Annotated[
        bool | None, typer.Option(envvar="SWIFTOP_LOG_JSON", help="JSON lines; by default unless on a terminal.")
    ] = None,
) -> None:
    """Run the operator, in a pod or with the current kubeconfig."""
    from swiftop.shell import app as operator  # noqa: PLC0415

    operator.run(
        Config(
            namespaces=tuple(namespace or ()),
            operator_namespace=operator_namespace,
            leader_election=leader_election,
            workers=workers,
            resync_seconds=resync_seconds,
            progress_seconds=progress_seconds,
            port=port,
            log_level=log_level,
            log_json=not sys.stderr.isatty() if log_json is None else log_json,
        )
    )


@app.command()
def progress(
    name: _Name,
    kind: _Kind = _DEFAULT_KIND,
    namespace: _Namespace = None,
    context: _Context = None,
    follow: Annotated[bool, typer.Option(help="Go on until it has ended.")] = True,
) -> None:
    """Show how far an object is, live. Exits 1 when it failed, or when only an edit can help it."""
    from swiftop.cli.progress import show  # noqa: PLC0415

    raise typer.Exit(show(name, kind=kind, namespace=namespace, context=context, follow=follow))


@app.command()
def suspend(name: _Name, kind: _Kind = _DEFAULT_KIND, namespace: _Namespace = None, context: _Context = None) -> None:
    """Stop an object with its checkpoint saved, and free its GPUs (spec.suspend: true)."""
    from swiftop.cli.suspend import change  # noqa: PLC0415

    print(change(name, kind=kind, namespace=namespace, context=context, suspend=True))


@app.command()
def resume(name: _Name, kind: _Kind = _DEFAULT_KIND, namespace: _Namespace = None, context: _Context = None) -> None:
    """Let a suspended object go on (spec.suspend: false)."""
    from swiftop.cli.suspend import change  # noqa: PLC0415

    print(change(name, kind=kind, namespace=namespace, context=context, suspend=False))


@app.command()
def login(
    file: Annotated[str, typer.Argument(help="File of NAME=value lines; - for standard input.")] = ".env",
    also: Annotated[list[str] | None, typer.Option(help="Name of a further variable to take; several.")] = None,
    secret: Annotated[str, typer.Option(help="Name of the Secret.")] = names.DEFAULT_CREDENTIALS_SECRET,
    namespace: _Namespace = None,
    context: _Context = None,
) -> None:
    """Make the Secret with the tokens for SwanLab, ModelScope and Hugging Face out of a .env file. Shows names only."""
    from swiftop.cli.login import login as write  # noqa: PLC0415

    print(write(file, also=also or [], secret=secret, namespace=namespace, context=context))


@app.command()
def crds(
    out: Annotated[Path | None, typer.Option(help="Directory to write to; stdout otherwise.")] = None,
) -> None:
    """Write the CustomResourceDefinitions."""
    from swiftop.api import crd  # noqa: PLC0415
    from swiftop.kinds.registry import MODELS  # noqa: PLC0415

    if out is None:
        print("---\n".join(text for name, text in crd.crds(MODELS).items() if name.endswith(".yaml")), end="")
        return
    for path in crd.write(out, MODELS):
        print(path)


@app.command()
def version() -> None:
    """Print the version."""
    print(installed("swiftop"))


def main() -> None:
    """Entry point of both scripts."""
    try:
        app(prog_name="kubectl swift" if Path(sys.argv[0]).name.startswith("kubectl-") else None)
    except SwiftopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
