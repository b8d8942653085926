"""What runs in containers that write into a volume, which lies at ``/volume``.

An archive is unpacked into a folder of the volume, ``$STAGE``, and only when it is whole takes the
place of what was there; that may go where ``$CLEAR`` is ``yes``. For any shell, with ``tar`` and
the usual programs.
"""

NOT_EMPTY = 73
"""How a script ends that would have to remove something, and may not."""

FULL = 74
"""How a script ends that found no room, which it may not have been able to print either."""

STAGE = ".container-host-agent-restore-"
"""How the names of folders begin into which archives are unpacked."""

_ENTRIES = "./* ./.[!.]* ./..?*"

DISCARD = 'cd /volume && rm -rf "./$STAGE" "./$STAGE-whole"'

UNPACK = (
    f"cd /volume && rm -rf ./{STAGE}* || exit 1; "
    f'[ "$CLEAR" = yes ] || [ -z "$(ls -A . | head -n 1)" ] || exit {NOT_EMPTY}; '
    # As the volume itself, unless the archive tells otherwise.
    'mkdir "$STAGE" && chown "$(stat -c %u:%g .)" "$STAGE" && chmod "$(stat -c %a .)" "$STAGE" '
    "|| exit 1; "
    'tar -x -p --numeric-owner -C "$STAGE" -f - && exit; status=$?; '
    # The Engine keeps what is printed on the same disk, as a rule.
    'dd if=/dev/zero of="$STAGE/$STAGE" bs=65536 count=1 2>/dev/null && exit "$status"; '
    f"exit {FULL}"
)

# May be run again wherever it was cut off: what goes has gone before the folder gets another name.
REPLACE = (
    "cd /volume || exit 1; "
    'if [ -d "$STAGE" ]; then '
    f"for entry in {_ENTRIES}; do "
    'if [ "$entry" != "./$STAGE" ] && { [ -e "$entry" ] || [ -L "$entry" ]; }; then '
    f'[ "$CLEAR" = yes ] || exit {NOT_EMPTY}; rm -rf "$entry" || exit 1; '
    "fi; done; "
    'mv "$STAGE" "$STAGE-whole" || exit 1; '
    "fi; "
    'if [ -d "$STAGE-whole" ]; then '
    'chown "$(stat -c %u:%g "$STAGE-whole")" . && chmod "$(stat -c %a "$STAGE-whole")" . '
    "|| exit 1; "
    'for entry in "$STAGE-whole"/* "$STAGE-whole"/.[!.]* "$STAGE-whole"/..?*; do '
    'if [ -e "$entry" ] || [ -L "$entry" ]; then mv -f "$entry" . || exit 1; fi; done; '
    'rmdir "$STAGE-whole"; '
    "fi"
)
