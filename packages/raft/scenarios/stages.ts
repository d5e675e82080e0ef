/** Chooses the stage for a scenario file by the commands it uses. */
import { ChangerStage } from "./changer-stage.ts";
import { InteractionStage } from "./interaction-stage.ts";
import { QuorumStage } from "./quorum-stage.ts";
import { parseScenario, type Stage } from "./scenario-file.ts";

export function stageFor(text: string): Stage {
  switch (parseScenario(text).directives[0]?.command) {
    case "committed":
    case "vote":
      return new QuorumStage();
    case "simple":
    case "enter-joint":
    case "leave-joint":
      return new ChangerStage();
    default:
      return new InteractionStage();
  }
}
