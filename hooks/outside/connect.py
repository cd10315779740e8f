import shlex

from django.db import connection

arguments, variables = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
for name, value in (variables or {}).items():
    print(f"export {name}={shlex.quote(str(value))}")
print("set --", shlex.join(map(str, arguments[1:])))
