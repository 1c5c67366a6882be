"""`completion`: what makes a shell complete these commands."""

from __future__ import annotations

import click

from saga_actors.cli.terminal import show

PROGRAM = "saga-actors"
VARIABLE = "_SAGA_ACTORS_COMPLETE"
"""Where click looks for what a shell wants to know."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes your shell complete these.

    \b
    bash, in ~/.bashrc:
        eval "$(saga-actors completion bash)"
    zsh, in ~/.zshrc behind compinit:
        eval "$(saga-actors completion zsh)"
    fish, once:
        saga-actors completion fish > ~/.config/fish/completions/saga-actors.fish
    """
    from click.shell_completion import get_completion_class

    completing = get_completion_class(shell)
    assert completing is not None
    show(completing(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
