/**
 * `quorate utl completion`: scripts that offer the commands and flags to a shell. Every word that can follow is known
 * beforehand, so the scripts hold them as lists and never call back.
 */
import type { Command, CommandGroup } from "./command-tree.ts";
import { type Flag, FlagError } from "./flags.ts";

const SHELLS: readonly string[] = ["bash", "fish", "powershell", "zsh"];

/** Of `quorate utl`, called `path` by people. */
export function completion(
  path: string,
  commands: readonly (Command | CommandGroup)[],
  globalFlags: readonly Flag[],
): Command {
  return {
    name: "completion",
    operands: "[bash|zsh|fish|powershell]",
    summary: "Generate completion script",
    flags: [],
    hidesFlags: true,
    operandCount: 1,
    run(_values, [shell]) {
      if (!SHELLS.includes(shell!)) {
        throw new FlagError(`invalid argument ${JSON.stringify(shell)} for ${JSON.stringify(`${path} completion`)}`);
      }
      const words = [...wordsOf([], commands, globalFlags), { after: ["completion"], words: [...SHELLS] }];
      process.stdout.write(scriptFor(shell!, path, words));
    },
  };
}

interface Words {
  /** The commands written so far. */
  readonly after: readonly string[];
  readonly words: readonly string[];
}

function wordsOf(
  after: readonly string[],
  commands: readonly (Command | CommandGroup)[],
  globalFlags: readonly Flag[],
): Words[] {
  const names = commands.map(({ name }) => name);
  const here = { after, words: after.length === 0 ? [...names, "completion", "help"] : names };
  const below = commands.flatMap((each) => {
    const path = [...after, each.name];
    if ("commands" in each) return wordsOf(path, each.commands, globalFlags);
    return [{ after: path, words: [...each.flags, ...globalFlags].map(({ name }) => `--${name}`) }];
  });
  return [here, ...below];
}

function scriptFor(shell: string, path: string, all: readonly Words[]): string {
  const [program] = path.split(" ") as [string];
  const cases = all.map(({ after, words }) => ({ typed: [...path.split(" ").slice(1), ...after].join(" "), words }));
  switch (shell) {
    case "bash":
    case "zsh": {
      const lines = cases.map(({ typed, words }) => `    "${typed}") words="${words.join(" ")}" ;;`);
      const body = `_${program}_utl() {
  local typed="" words="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -* ]] || typed+="\${typed:+ }$word"
  done
  case "$typed" in
${lines.join("\n")}
    *) COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")); return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _${program}_utl ${program}
`;
      return shell === "bash" ? body : `autoload -U +X bashcompinit && bashcompinit\n${body}`;
    }
    case "fish":
      return cases
        .map(({ typed, words }) => {
          const test = `string match -q -- '${program} ${typed}' (string join ' ' (commandline -opc | string match -v -- '-*'))`;
          return `complete -c ${program} -n "${test}" -a "${words.join(" ")}"\n`;
        })
        .join("");
    default: {
      const lines = cases.map(({ typed, words }) => `    '${typed}' = '${words.join(" ")}'`);
      return `Register-ArgumentCompleter -Native -CommandName ${program} -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $offered = @{
${lines.join("\n")}
  }
  $typed = ($commandAst.CommandElements | Select-Object -Skip 1 | ForEach-Object { "$_" } |
    Where-Object { $_ -notlike '-*' -and $_ -ne $wordToComplete }) -join ' '
  "$($offered[$typed])" -split ' ' | Where-Object { $_ -like "$wordToComplete*" }
}
`;
    }
  }
}
