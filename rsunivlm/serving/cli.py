"""``rsunivlm serve``: options and start of the server."""

from __future__ import annotations

import argparse
import ipaddress
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rsunivlm.serving.settings import MB, Settings

if TYPE_CHECKING:
    from rsunivlm.inference.engine import Engine
    from rsunivlm.inference.frontend import Frontend
    from rsunivlm.serving.router.backends import Backends
    from rsunivlm.serving.router.engine import RouterEngine

EXTRA = (
    "fastapi",
    "httpx",
    "multipart",
    "prometheus_client",
    "pydantic",
    "python_multipart",
    "starlette",
    "uvicorn",
)


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `rsunivlm`."""
    defaults = Settings(model_name="-")
    serve = commands.add_parser("serve", help="answer over HTTP: OpenAI's chat API and /v1/rs/TASK")
    serve.add_argument(
        "model", nargs="?", help="checkpoint folder or hub id (default: the bundled nano checkpoint)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8000, help="0 takes any free one (default 8000)")
    serve.add_argument("--name", help="model name that clients ask for (default: the folder's name)")
    serve.add_argument("--device", help="torch device, e.g. cpu or cuda:0")
    serve.add_argument("--int8", action="store_true", help="make the weights int8: smaller, faster on a CPU")
    serve.add_argument(
        "--compile", action="store_true", help="compile decoding passes for a GPU; slow to start"
    )
    serve.add_argument(
        "--api-key-file", type=Path, help="file with a key (default: variable RSUNIVLM_API_KEY)"
    )
    serve.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web origin that may ask; repeatable",
    )
    serve.add_argument("--access-log", action="store_true", help="log every request")
    _add_router(serve)
    for option, kind, default, text in (
        ("--slots", int, defaults.slots, "requests decoded together"),
        ("--queue", int, defaults.queue, "requests that may wait beyond the slots; more get 429"),
        ("--max-body-mb", float, defaults.max_body / MB, "size of a request"),
        ("--max-megapixels", float, defaults.max_pixels / 1e6, "size of an image"),
        ("--max-prompt-chars", int, defaults.max_prompt_chars, "texts of a request"),
        ("--max-memory-mb", float, defaults.max_memory / MB, "bodies and pictures of all requests"),
        ("--max-wait", float, defaults.max_wait, "seconds a request may wait before 504"),
        ("--max-seconds", float, defaults.max_seconds, "seconds after which an answer is cut"),
        ("--grace", float, defaults.grace, "seconds for accepted work after SIGTERM"),
    ):
        serve.add_argument(option, type=kind, default=default, help=f"{text} (default {default:g})")
    serve.set_defaults(run=_serve)


def _add_router(serve: argparse.ArgumentParser) -> None:
    router = serve.add_argument_group("router", "leave the answers to servers of exported experts, e.g. vLLM")
    router.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="[EXPERT=]URL",
        help="server of an expert (image, region, pixel) or of all; repeatable, several share the questions",
    )
    router.add_argument(
        "--backend-model",
        action="append",
        default=[],
        metavar="[EXPERT=]NAME",
        help="name under which the servers know the expert's model (default: their only one)",
    )
    router.add_argument(
        "--backend-input",
        choices=("chat", "embeddings"),
        help="send chats with images, or embeddings of whole prompts (default: chats where stock LLaVA "
        "classes can read the checkpoint's images)",
    )
    router.add_argument(
        "--backend-key-file",
        type=Path,
        help="file with the servers' key (default: variable RSUNIVLM_BACKEND_API_KEY)",
    )


def _serve(args: argparse.Namespace) -> int:
    try:
        from rsunivlm.serving.authorisation import read_api_key
        from rsunivlm.serving.server import bind, serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRA:
            raise
        raise ValueError("the server needs more packages: pip install 'rsunivlm[serve]'") from error
    from rsunivlm.inference.loading import bundled_checkpoint, quiet_libraries

    if not args.backend and (args.backend_model or args.backend_input or args.backend_key_file):
        raise ValueError("the options of the router need a server to ask: add --backend")
    checkpoint = args.model or bundled_checkpoint()
    settings = Settings(
        model_name=args.name or Path(checkpoint).resolve().name,
        slots=args.slots,
        queue=args.queue,
        max_body=round(args.max_body_mb * MB),
        max_pixels=round(args.max_megapixels * 1e6),
        max_prompt_chars=args.max_prompt_chars,
        max_memory=round(args.max_memory_mb * MB),
        max_wait=args.max_wait,
        max_seconds=args.max_seconds,
        grace=args.grace,
        api_key=read_api_key(args.api_key_file),
        cors_origins=tuple(args.cors_origin),
    )
    listener = bind(args.host, args.port)  # before the model is loaded: a taken port is told at once
    if settings.api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        print("warning: reachable from other machines without a key; see --api-key-file", file=sys.stderr)
    quiet_libraries()
    frontend, engine, backends = _start_engine(args, checkpoint, settings)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    serve(
        frontend,
        engine,
        settings,
        listener,
        backends=backends,
        access_log=args.access_log,
        on_start=lambda: print(f"serving {settings.model_name} on {address}", flush=True),
    )
    return 0


def _start_engine(
    args: argparse.Namespace, checkpoint: str | Path, settings: Settings
) -> tuple[Frontend, Engine | RouterEngine, Backends | None]:
    from rsunivlm.inference.engine import Engine
    from rsunivlm.inference.predictor import RSUniVLM
    from rsunivlm.serving.authorisation import BACKEND_KEY_VARIABLE, read_api_key
    from rsunivlm.serving.router.start import start_router

    if args.backend:
        if args.int8 or args.compile:
            raise ValueError("with --backend the model runs elsewhere: leave --int8 and --compile out")
        return start_router(
            checkpoint,
            urls=args.backend,
            models=args.backend_model,
            form=args.backend_input,
            device=args.device,
            slots=settings.slots,
            api_key=read_api_key(args.backend_key_file, BACKEND_KEY_VARIABLE),
        )
    predictor = RSUniVLM.from_pretrained(checkpoint, device=args.device, int8=args.int8, compile=args.compile)
    return predictor, Engine(predictor, slots=settings.slots), None
