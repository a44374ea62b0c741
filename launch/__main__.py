"""Lists the commands of the package: python -m launch."""

_COMMANDS = {
    "sweep": "trains, evaluates and fuses the runs behind the paper's tables",
    "tables": "writes the report of a sweep again, beside the paper's figures",
    "benchmark": "measures training, evaluation and input beside other packages",
}

if __name__ == "__main__":
    print("Each command tells more with --help:")
    for name, about in _COMMANDS.items():
        print(f"    python -m launch.{name:9s}  {about}")
