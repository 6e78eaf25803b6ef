"""A page on this machine that scores a video dropped into it or recorded; nothing is kept, nothing sent anywhere."""

from __future__ import annotations

import secrets
import socket

import jsonargparse

from apt_lightning.cli.prepare import add_transcription_arguments
from apt_lightning.cli.score import add_weights_argument, weights_of
from apt_lightning.common.console import say
from apt_lightning.common.errors import UsageError


def add_arguments(parser: jsonargparse.ArgumentParser) -> None:
    """Declare the options of ``apt serve``."""
    parser.add_argument("checkpoint", help="Checkpoint of stage 1, 2 or 4, folder, or hf://owner/name.")
    add_transcription_arguments(parser)
    add_weights_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="Address; any other than this machine's asks for a token.")
    parser.add_argument("--port", type=int, default=8000, help="Port; 0 for any that is free.")
    parser.add_argument("--megabytes", type=int, default=200, help="Largest upload.")
    parser.add_argument("--clip-seconds-limit", type=float, default=120.0, help="Time limit a clip, s.")
    parser.add_argument("--trainer.accelerator", default="cpu", help="Lightning's accelerator: cpu, gpu, auto, ...")


def run(args: jsonargparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if not (args.megabytes > 0 and args.clip_seconds_limit > 0 and 0 <= args.port < 65536):
        raise UsageError("`--megabytes` and `--clip-seconds-limit` must be above 0, and `--port` below 65536")
    with _listener(args.host, args.port) as listener:  # before the model is read, which takes seconds
        return _serve(args, listener)


def _serve(args: jsonargparse.Namespace, listener: socket.socket) -> int:
    try:
        import uvicorn

        from apt_lightning.experiments.clips.service import LOOPBACK, Limits, Service
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'apt-lightning[web]'") from None
    from apt_lightning.cli.score import device
    from apt_lightning.common.processes import limit_threads
    from apt_lightning.stages.export.hub import local_copy
    from apt_lightning.stages.scorer import Scorer

    limit_threads()
    checkpoint = local_copy(args.checkpoint, args.allow_download)
    scorer = Scorer(checkpoint, device(args.trainer.accelerator), weights_of(args))
    transcribe = None
    if args.transcribe is not None:
        from apt_lightning.data.preparation.speech import transcribe_clips
        from apt_lightning.data.text.transcribe import Transcriber

        transcriber = Transcriber(args.transcribe, args.language, args.allow_download)

        def transcribe(path: str) -> str | None:
            return dict(transcribe_clips(transcriber, [path]))[path]

    token = None if args.host in LOOPBACK else secrets.token_urlsafe(24)
    service = Service(scorer, Limits(args.megabytes, args.clip_seconds_limit), token, transcribe)
    config = uvicorn.Config(
        service.application(),
        log_level="warning",
        access_log=False,  # addresses of visitors are nobody's business, and the first one holds the token
        server_header=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=5,
    )
    port = listener.getsockname()[1]
    name = f"[{args.host}]" if ":" in args.host else args.host
    say(f"http://{name}:{port}/{f'?token={token}' if token else ''}   (Ctrl-C ends it)")
    if token:
        say("Whoever knows this address can use the page; it is not encrypted, so keep to a network that you trust.")
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listener(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine.

    Raises:
        UsageError: If there is no such address, or another program listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"nothing can listen at `--host {host} --port {port}` ({error.strerror}); give others, 0 for any free port"
        ) from None
