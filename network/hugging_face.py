# pyright: basic, reportMissingImports=false, reportIncompatibleVariableOverride=false, reportIncompatibleMethodOverride=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# (transformers is an extra, and its classes are typed for its own models)
"""A run as a model of the library `transformers`: `AutoModelForCausalLM` and `AutoTokenizer` read what `export` writes.

    import network.hugging_face                                  # registers the model type `fastslow`
    model = AutoModelForCausalLM.from_pretrained("exported")

The folder also names the code of this package to `trust_remote_code=True`, for programs that do not import it
themselves. The model wraps `FastSlowLM` unchanged: its logits are those of the run. It has no cache and takes no
padding, since pooled blocks would hold the padding too; beyond block_size `generate` sees the window that
`network.generate` sees. Needs the extra `hugging-face`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import CausalLMOutput

from network.config import FastSlowConfig
from network.decoder import window_start
from network.evaluate import cross_entropy
from network.model import Coupling, FastSlowLM
from network.rotary import rotary_table
from network.run_folder import load_run
from network.tokenizer import SEPARATOR, load_tokenizer

_CODE = "from network.hugging_face import FastSlowForCausalLM, FastSlowHFConfig  # noqa: F401\n"


class FastSlowHFConfig(PretrainedConfig):
    """The configuration as `transformers` keeps it: `fastslow` holds the fields of `FastSlowConfig`."""

    model_type = "fastslow"

    def __init__(self, fastslow: dict[str, Any] | None = None, **options: Any) -> None:
        self.fastslow: dict[str, Any] = dict(fastslow) if fastslow is not None else FastSlowConfig().to_dict()
        self.vocab_size: int = self.fastslow["vocab_size"]
        self.hidden_size: int = self.fastslow["n_embd"]
        self.num_hidden_layers: int = self.fastslow["n_layer"]
        self.num_attention_heads: int = self.fastslow["n_head"]
        # The tie is inside FastSlowLM, which has one weight for both.
        super().__init__(**{"tie_word_embeddings": False, "use_cache": False, **options})


class FastSlowForCausalLM(PreTrainedModel, GenerationMixin):
    """`FastSlowLM` with the calling convention of `transformers`."""

    model: FastSlowLM

    config_class: type[FastSlowHFConfig] = FastSlowHFConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    base_model_prefix = "model"
    main_input_name = "input_ids"

    def __init__(self, config: FastSlowHFConfig) -> None:
        super().__init__(config)
        self.model = FastSlowLM(FastSlowConfig.from_dict(config.fastslow))
        self.post_init()
        if self.generation_config is not None:
            self.generation_config.use_cache = False

    def _init_weights(self, module: Any) -> None:
        # Called after loading too: the tables are in no file, and were built without memory of their own.
        if isinstance(module, FastSlowLM):
            c = module.config
            _refill(module, rotary_table(c.block_size, c.n_embd, c.n_head))
        elif isinstance(module, Coupling):
            c = FastSlowConfig.from_dict(self.config.fastslow)
            _refill(module, rotary_table(c.block_size // c.period, c.n_embd, c.n_head))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **options: Any
    ) -> CausalLMOutput:
        """Logits[B, T, V] of input_ids[B, T]; with labels[B, T] (usually the inputs) the loss of the next token.

        Raises `ValueError` for a mask that hides tokens, and what `FastSlowLM.forward` raises.
        """
        if attention_mask is not None and not bool((attention_mask == 1).all()):
            raise ValueError("attention_mask hides tokens: pooled blocks would hold them; pass sequences of one length")
        logits = self.model(input_ids)
        loss = None if labels is None else cross_entropy(logits[:, :-1], labels[:, 1:])
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: Tensor, **options: Any
    ) -> dict[str, Any]:
        """The window of the text that the model sees."""
        return {"input_ids": input_ids[:, window_start(input_ids.shape[1], self.model.config.block_size) :]}


def _refill(module: Any, table: Tensor) -> None:
    with torch.no_grad():
        module.rotary.copy_(table.to(module.rotary))


def export(run: str | Path, folder: str | Path) -> Path:
    """Write the newest checkpoint of `run` as a Hugging Face model in `folder`: configuration, weights, tokenizer.

    Raises `ValueError` where `run` is no run or one of arm generator, or the folder holds something already.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is there already and not an empty folder; name a new one")
    trained = load_run(run)
    if not isinstance(trained, FastSlowLM):
        raise ValueError(f"{run} is of arm generator, which `transformers` has no class for here; use network.load_run")
    config = FastSlowHFConfig(trained.config.to_dict(), eos_token_id=SEPARATOR, bos_token_id=SEPARATOR)
    config.auto_map = {
        "AutoConfig": "modeling_fastslow.FastSlowHFConfig",
        "AutoModelForCausalLM": "modeling_fastslow.FastSlowForCausalLM",
    }
    config.architectures = ["FastSlowForCausalLM"]
    model: Any = FastSlowForCausalLM(config)
    model.model = trained
    model.to(next(trained.parameters()).dtype)
    model.save_pretrained(target)
    (target / "modeling_fastslow.py").write_text(_CODE)
    tokenizer = load_tokenizer(run)
    file = target / "tokenizer.json"
    file.write_text(tokenizer.to_json())
    ends = {} if tokenizer.name == "bytes" else {"eos_token": "\0", "bos_token": "\0"}
    length = trained.config.block_size
    PreTrainedTokenizerFast(tokenizer_file=str(file), model_max_length=length, **ends).save_pretrained(target)
    return target


AutoConfig.register("fastslow", FastSlowHFConfig)
AutoModelForCausalLM.register(FastSlowHFConfig, FastSlowForCausalLM)
