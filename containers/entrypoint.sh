#!/bin/sh
# The arguments are those of wmh-infer, as of a BIDS App (/data /out participant), or begin with the
# name of one of the commands.
case "${1:-}" in
    wmh-*) exec "$@" ;;
    *) exec wmh-infer "$@" ;;
esac
