"""`gradflock compile`: have kernels and programs ready before anybody waits for them."""

import click

from cli.dataset import BUNDLED, cache_directory, load_dataset
from cli.kernels import keep_library
from cli.view import say
from engine.config import ModelConfig
from engine.tokenizer import Tokenizer


@click.command("compile")
def compile_kernels() -> None:
    """Compile the kernels for this machine, and the programs of the default model for names.

    The first run that needs them does so by itself; an image does it when it is built.
    """
    tokenizer = Tokenizer.of_documents(load_dataset(BUNDLED, say).texts)
    keep_library(ModelConfig(vocab_size=tokenizer.vocab_size), say)
    click.echo(f"the kernels are ready in {cache_directory() / 'kernels'}")
