/**
 * Plays the scenarios of the configuration changer: `simple`, `enter-joint [autoleave=true]`, `leave-joint`, with steps
 * like `v1 l2 r3 u4` as input. Prints the resulting configuration and progresses, or why there is none.
 */
import { Changer, type Configuration } from "../src/changer.ts";
import { InvalidConfChange } from "../src/errors.ts";
import { Inflights } from "../src/inflights.ts";
import { describeConfig } from "../src/tracker.ts";
import { EMPTY_CONF_STATE, type Index } from "../src/types.ts";
import { parseChanges } from "./changes.ts";
import { type Directive, ScenarioError, type Stage } from "./scenario-file.ts";

export class ChangerStage implements Stage {
  #now: Configuration = { config: EMPTY_CONF_STATE, progress: new Map() };
  /** Grows with every directive, so that `next` tells when a member came. */
  #lastIndex = 0;

  play(directive: Directive): string {
    const changer = new Changer(this.#now, this.#lastIndex++ as Index, () => new Inflights(10, 0));
    try {
      this.#now = change(changer, directive);
    } catch (error) {
      if (error instanceof InvalidConfChange) return `${error.message}\n`;
      throw error;
    }
    let text = `${describeConfig(this.#now.config)}\n`;
    const members = [...this.#now.progress.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const member of members) text += `${member.id}: ${member}\n`;
    return text;
  }
}

function change(changer: Changer, directive: Directive): Configuration {
  const changes = parseChanges(directive.input);
  switch (directive.command) {
    case "simple":
      return changer.simple(changes);
    case "enter-joint": {
      const autoLeave = directive.args.find(({ key }) => key === "autoleave");
      return changer.enterJoint(autoLeave?.values[0] === "true", changes);
    }
    case "leave-joint":
      if (changes.length > 0) throw new InvalidConfChange("this command takes no input");
      return changer.leaveJoint();
    default:
      throw new ScenarioError(`line ${directive.line}: unknown command ${directive.command}`);
  }
}
