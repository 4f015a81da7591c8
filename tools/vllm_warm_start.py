"""A real vLLM, cold and warm: `tools/vllm_warm_start.py PYTHON`, where vllm and b10-transfer are.

Makes a tiny Llama with random weights, serves it twice under `b10-transfer run --`, each time in an
empty home with an empty temporary folder, and prints what both starts took, what was loaded and
compiled again, and whether the answers are equal. Ends with 1 when the second start was not warm.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_READY_SECONDS = 900.0
_END_SECONDS = 120.0
_PROMPT = "the quick brown fox"

_MODEL = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
import torch
torch.manual_seed(0)
words = {word: number for number, word in enumerate(
    ["<s>", "</s>", "<unk>", *"the quick brown fox jumps over a lazy dog".split()]
)}
words.update({f"w{number}": number for number in range(len(words), 512)})
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
).save_pretrained(sys.argv[1])
config = LlamaConfig(
    vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[1])
"""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the server.

    Attributes:
        ready_seconds: from the start of the process until /health answered 200.
        answer: of the first completion.
        status: the exit status after SIGTERM.
        log: everything it printed.
        folders: of compiled models below torch_compile_cache and torch_aot_compile.
    """

    ready_seconds: float
    answer: str
    status: int
    log: str
    folders: frozenset[str]

    def lines(self, word: str) -> list[str]:
        """The lines of our own log that begin with a word."""
        return re.findall(rf"(?m)^.*\b({word}: .*)$", self.log)


def main() -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("python", help="the interpreter of an environment with vllm, and with this")
    parser.add_argument("arguments", nargs="*", help="more arguments of `vllm serve`, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="b10-vllm-") as name:
        folder = Path(name)
        subprocess.run([options.python, "-c", _MODEL, folder / "model"], check=True)
        starts = [_serve(options.python, folder, home, options.arguments) for home in ("a", "b")]
    return _judge(*starts)


def _serve(python: str, folder: Path, home: str, arguments: list[str]) -> Start:
    place = folder / home
    for part in ("home", "tmp"):
        (place / part).mkdir(parents=True)
    port = _free_port()
    command = [
        *(python, "-m", "b10_transfer", "run", "--", str(Path(python).parent / "vllm"), "serve"),
        *(str(folder / "model"), "--port", str(port), "--max-model-len", "256", *arguments),
    ]
    kept = {"PATH", "LANG", "LD_LIBRARY_PATH", "LD_PRELOAD"}
    variables = {
        **{key: value for key, value in os.environ.items() if key in kept},
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "BASETEN_FS_ENABLED": "1",
        "B10FS_CACHE_DIR": str(folder / "store"),
        "LOCAL_WORK_DIR": str(place / "tmp"),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    began = time.monotonic()
    with (folder / f"{home}.log").open("w+") as log:
        server = subprocess.Popen(
            command, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_ready(server, port)
            ready = time.monotonic() - began
            answer = _ask(port)
            _wait_until_saved(server, folder / f"{home}.log")
            server.send_signal(signal.SIGTERM)
            status = server.wait(_END_SECONDS)
        except BaseException:
            log.seek(0)
            _print(log.read()[-4000:])
            raise
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
        log.seek(0)
        text = log.read()
    return Start(ready, answer, status, text, _model_folders(place / "home" / ".cache" / "vllm"))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError(f"not ready within {_READY_SECONDS:.0f} s")


def _ask(port: int) -> str:
    body = json.dumps({"prompt": _PROMPT, "max_tokens": 16, "temperature": 0}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    text: str = json.load(connection.getresponse())["choices"][0]["text"]
    return text


def _wait_until_saved(server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if re.search(r"save: \d+ artifacts", log.read_text(errors="replace")):
            return
        time.sleep(1)


def _model_folders(cache: Path) -> frozenset[str]:
    return frozenset(
        str(path.relative_to(cache))
        for kind in ("torch_compile_cache", "torch_aot_compile")
        for path in cache.rglob(f"{kind}/*")
        if path.is_dir() and re.fullmatch(r"[0-9a-f]{10,64}", path.name)
    )


def _judge(cold: Start, warm: Start) -> int:
    for name, start in (("cold", cold), ("warm", warm)):
        _print(f"{name}: ready after {start.ready_seconds:.1f} s, exit status {start.status}")
        for line in (*start.lines("load"), *start.lines("save")):
            _print(f"      {line}")
    findings = {
        "the answers are equal": cold.answer == warm.answer,
        "something was loaded": any("artifacts loaded" in line for line in warm.lines("load")),
        "no model was compiled under another key": warm.folders == cold.folders != frozenset(),
        "the second start was faster": warm.ready_seconds < cold.ready_seconds,
    }
    for what, holds in findings.items():
        _print(f"{'yes' if holds else 'NO '}  {what}")
    return 0 if all(findings.values()) else 1


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
