"""The secret that signs the messages of a job: see `vgg_jax.system.messages`."""

from vgg_jax.system.messages import SECRET

# The shell command that makes a new one. The secret is in no file, and in no command's arguments.
EXPORT = f"export {SECRET}=\"$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')\""
