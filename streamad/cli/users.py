"""`streamad users` and `streamad tokens`: who may use the page and the API."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamad.cli.common import JsonOption, emit, login_name, say, table
from streamad.cli.help import arg, opt
from streamad.errors import ConfigError, UsageError, suggestion

if TYPE_CHECKING:
    from streamad.accounts import Accounts
    from streamad.config import Config

users = typer.Typer(help="Add, list and remove users of the page.", no_args_is_help=True, add_completion=False)
tokens = typer.Typer(help="Add, list and revoke tokens of programs.", no_args_is_help=True, add_completion=False)

ConfigArgument = Annotated[Path, arg(unit="CONFIG", help="The YAML configuration; `web.users` names the file.")]
UserName = Annotated[str, arg(unit="NAME", help="The user's name.")]
RoleName = Literal["viewer", "operator", "admin"]
ScopeName = Literal["metrics", "viewer", "operator", "admin"]
PasswordOption = Annotated[
    Path | None,
    opt("--password-file", unit="FILE", help="Read the password from this file; -: standard input. Default: ask."),
]


@users.command("add")
def add_user(
    config: ConfigArgument,
    name: UserName,
    role: Annotated[
        RoleName, opt("--role", unit="ROLE", help="viewer: read; operator: also mark and tune; admin: everything.")
    ] = "viewer",
    password_file: PasswordOption = None,
    no_password: Annotated[
        bool, opt("--no-password", help="No login here: the user comes through the proxy of `web.proxy`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add a user, or change a user's role.

    The password is asked for twice. A user who exists keeps the password. The file is created if it is missing, and
    only you can read it. A running `streamad run` takes changes at the next request.

    Examples:
        streamad users add camera.yaml kim --role operator
        streamad users add camera.yaml kim --password-file password.txt
    """
    from streamad.accounts import Role, User, changed_accounts, checked_name, read_accounts

    settings, path = _settings(config)
    checked_name(name)
    before = read_accounts(path).user(name) if path.exists() else None
    hashed = before.password if before is not None and password_file is None else None
    if hashed is None and not no_password:
        hashed = _hashed(password_file)  # asked for before the file is locked
    user = User.model_validate({"name": name, "role": Role(role), "password": None if no_password else hashed})
    with changed_accounts(path) as states:
        states.append(states[0].with_user(user))
    _record(settings, "user.add" if before is None else "user.change", name, {"role": role})
    _done(as_json, f"{name}: {role}", {"user": name, "role": role, "file": str(path)})


@users.command("remove")
def remove_user(config: ConfigArgument, name: UserName, as_json: JsonOption = False) -> None:
    """Remove a user. Their sessions end at once.

    So do the notifications on their devices.

    Examples:
        streamad users remove camera.yaml kim
    """
    from streamad.accounts import changed_accounts

    settings, path = _settings(config)
    with changed_accounts(path) as states:
        _require(states[0], name, path)
        others = tuple(user for user in states[0].users if user.name != name)
        states.append(states[0].model_copy(update={"users": others}))
    _record(settings, "user.remove", name, {})
    _end_notifications(settings)
    _done(as_json, f"{name}: removed", {"user": name, "file": str(path)})


@users.command("password")
def set_password(
    config: ConfigArgument, name: UserName, password_file: PasswordOption = None, as_json: JsonOption = False
) -> None:
    """Set a user's password. Their sessions end at once.

    So do the notifications on their devices, until they are turned on again.

    Examples:
        streamad users password camera.yaml kim
    """
    from streamad.accounts import changed_accounts, read_accounts

    settings, path = _settings(config)
    _require(read_accounts(path), name, path)
    hashed = _hashed(password_file)
    with changed_accounts(path) as states:
        user = _require(states[0], name, path)
        states.append(states[0].with_user(user.model_copy(update={"password": hashed})))
    _record(settings, "user.password", name, {})
    _end_notifications(settings)
    _done(as_json, f"{name}: new password", {"user": name, "file": str(path)})


@users.command("list")
def list_users(config: ConfigArgument, as_json: JsonOption = False) -> None:
    """List the users and their roles.

    Examples:
        streamad users list camera.yaml
    """
    from streamad.accounts import read_accounts

    _, path = _settings(config)
    rows = [
        {"user": user.name, "role": str(user.role), "login": "password" if user.password else "proxy"}
        for user in read_accounts(path).users
    ]
    if as_json:
        emit({"users": rows})
    elif rows:
        table(rows)
    else:
        say("no users")


@tokens.command("add")
def add_token(
    config: ConfigArgument,
    name: Annotated[str, arg(unit="NAME", help="What the token is for.")],
    scope: Annotated[
        ScopeName, opt("--scope", unit="SCOPE", help="metrics: /metrics alone; viewer, operator, admin: as for users.")
    ] = "viewer",
    expires: Annotated[
        str | None, opt("--expires", unit="DURATION", help="When it ends: 90m, 24h or 365d. Default: never.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token for a program, and print it.

    It is shown this once and stored as a hash. Programs send it as `Authorization: Bearer TOKEN`.

    Examples:
        streamad tokens add camera.yaml prometheus --scope metrics
        streamad tokens add camera.yaml home-assistant --scope viewer --expires 365d
    """
    from datetime import UTC, datetime, timedelta

    from streamad.accounts import Role, changed_accounts, new_token
    from streamad.workflows.recalibrate import seconds_of

    settings, path = _settings(config)
    now = datetime.now(UTC)
    ends = None if expires is None else now + timedelta(seconds=seconds_of(expires))
    token, text = new_token(name, Role(scope), now, ends)
    with changed_accounts(path) as states:
        states.append(states[0].model_copy(update={"tokens": (*states[0].tokens, token)}))
    _record(settings, "token.add", name, {"id": token.id, "scope": scope})
    if as_json:
        emit({"id": token.id, "name": name, "scope": scope, "token": text})
    else:
        say(f"token {token.id} for {name}, scope {scope}; it is not shown again:")
        typer.echo(text)


@tokens.command("list")
def list_tokens(config: ConfigArgument, as_json: JsonOption = False) -> None:
    """List the tokens, what they may do, and their last use.

    Examples:
        streamad tokens list camera.yaml
    """
    from streamad.accounts import read_accounts
    from streamad.alerts.audit import token_uses

    settings, path = _settings(config)
    found, uses = read_accounts(path).tokens, token_uses(settings.events.path)
    rows: list[dict[str, Any]] = [
        {
            "id": token.id,
            "name": token.name,
            "scope": str(token.scope),
            "created": f"{token.created_at:%Y-%m-%d %H:%M}",
            "expires": "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}",
            "last used": f"{uses[token.id]:%Y-%m-%d %H:%M}" if token.id in uses else "never",
        }
        for token in found
    ]
    if as_json:
        emit({"tokens": [{key.replace(" ", "_"): value for key, value in row.items()} for row in rows]})
    elif rows:
        table(rows)
    else:
        say("no tokens")


@tokens.command("revoke")
def revoke_token(
    config: ConfigArgument,
    token: Annotated[str, arg(unit="ID", help="The token's id, its name, or the token itself.")],
    as_json: JsonOption = False,
) -> None:
    """Revoke a token. It is refused from the next request on.

    Examples:
        streamad tokens revoke camera.yaml 1f0a9c3e
    """
    from streamad.accounts import TOKEN_PREFIX, changed_accounts, token_sha256

    settings, path = _settings(config)
    with changed_accounts(path) as states:
        digest = token_sha256(token)
        gone = [one for one in states[0].tokens if token in (one.id, one.name) or one.sha256 == digest]
        if not gone:
            shown = "this text" if token.startswith(TOKEN_PREFIX) else token
            raise UsageError(f"{path} has no token {shown}", hint=f"streamad tokens list {config}")
        if len(gone) > 1:
            raise UsageError(f"several tokens are named {token}: {', '.join(t.id for t in gone)}", hint="give the id")
        rest = tuple(one for one in states[0].tokens if one is not gone[0])
        states.append(states[0].model_copy(update={"tokens": rest}))
    _record(settings, "token.revoke", gone[0].name, {"id": gone[0].id})
    _done(as_json, f"{gone[0].id} ({gone[0].name}): revoked", {"id": gone[0].id, "name": gone[0].name})


def _settings(config: Path) -> tuple[Config, Path]:
    """The configuration and the users file."""
    from streamad.config import load_config

    settings = load_config(config)
    if settings.web.users is None:
        raise ConfigError(f"{config} has no users file", hint="add `users: users.json` under `web`")
    return settings, settings.web.users


def _end_notifications(settings: Config) -> None:
    """Forget the devices of users who could not log in any more."""
    if settings.push is not None:
        settings.push.subscriptions(settings.web.users).current()


def _require(accounts: Accounts, name: str, path: Path) -> Any:
    user = accounts.user(name)
    if user is None:
        hint = suggestion(name, [user.name for user in accounts.users]) or "`streamad users list CONFIG` lists them"
        raise UsageError(f"{path} has no user {name}", hint=hint)
    return user


def _hashed(password_file: Path | None) -> str:
    from streamad.accounts import checked_password, hash_password
    from streamad.files import read_bytes

    if password_file is None:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask for a password", hint="give --password-file")
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        try:
            raw = sys.stdin.buffer.read(1 << 16) if str(password_file) == "-" else read_bytes(password_file, 1 << 16)
            password = raw.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"{password_file} is not UTF-8 text", hint="save it as UTF-8") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {password_file}: {getattr(error, 'strerror', None) or error}") from error
    return hash_password(checked_password(password))


def _record(settings: Config, action: str, target: str, detail: Mapping[str, Any]) -> None:
    """Add to the audit trail."""
    from datetime import UTC, datetime

    from streamad.alerts.audit import AuditEntry, record_change

    try:
        who = login_name()
    except UsageError:
        who = f"uid {os.getuid()}"
    entry = AuditEntry(
        at=datetime.now(UTC), who=who, authentication="command", action=action, target=target, detail=detail
    )
    if not record_change(settings.events.path, entry):
        say(f"warning: the audit trail in {settings.events.path} could not be written")


def _done(as_json: bool, text: str, document: dict[str, Any]) -> None:
    if as_json:
        emit(document)
    else:
        say(text)
