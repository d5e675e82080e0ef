/** `quorate cluster status`: its flags, and how a diagnosis is shown. */
import { readFileSync } from "node:fs";
import { type Diagnosis, diagnose, EXIT_CODES, idText } from "./diagnosis.ts";
import { BadAddress, type Credentials, parseAddress } from "./endpoint.ts";
import { type Survey, type SurveyedMember, survey } from "./survey.ts";
import { tableText } from "./table.ts";
import { type OptionTable, type OptionValues, readOptions, textOf, UsageError } from "./usage.ts";

const HELP = `Usage:

  quorate cluster status [flags]
    Show every member of a running cluster, Quorate's or etcd's, and say what is wrong with it.

Flags:
  --endpoints 127.0.0.1:2379
    Members to ask, separated by commas; the others are found through them. Default: $ETCDCTL_ENDPOINTS.
  -w, --write-out table
    table or json.
  --cacert FILE, --cert FILE, --key FILE, --insecure-skip-tls-verify
    TLS, as with etcdctl. Default: $ETCDCTL_CACERT, $ETCDCTL_CERT, $ETCDCTL_KEY.
  --user NAME[:PASSWORD], --password PASSWORD
    For a cluster with authentication. Default: $ETCDCTL_USER, $ETCDCTL_PASSWORD.

Each member has two seconds to answer.

Exit codes: 0 everything is well; 1 the cluster works but something is wrong; 2 nothing can be written, or nobody
answers or tells us anything, or arguments that make no sense.
`;

const LIMIT_MS = 2000;
const SECOND_LOOK_MS = 1000;
const OPTIONS: OptionTable = {
  endpoints: { type: "string" },
  "write-out": { type: "string", short: "w" },
  cacert: { type: "string" },
  cert: { type: "string" },
  key: { type: "string" },
  "insecure-skip-tls-verify": { type: "boolean" },
  user: { type: "string" },
  password: { type: "string" },
  help: { type: "boolean", short: "h" },
};

/** Resolves with the exit code. Throws {@link UsageError}. */
export async function statusCommand(args: readonly string[]): Promise<number> {
  const values = readOptions(args, OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const format = textOf(values, "write-out") ?? "table";
  if (format !== "table" && format !== "json") {
    throw new UsageError(`--write-out must be table or json, not ${JSON.stringify(format)}`);
  }
  const credentials = credentialsOf(values);
  const isTls = credentials.authority !== undefined || credentials.certificate !== undefined;
  const texts = setting(values, "endpoints") ?? "127.0.0.1:2379";
  const addresses = texts
    .split(",")
    .filter((text) => text !== "")
    .map((text) => addressOf(text, isTls));
  if (addresses.length === 0) throw new UsageError("--endpoints names no endpoint");
  const seen = await survey({ addresses, credentials, limitMs: LIMIT_MS, secondLookMs: SECOND_LOOK_MS });
  const diagnosis = diagnose(seen);
  process.stdout.write(format === "json" ? jsonText(seen, diagnosis) : text(seen, diagnosis));
  return EXIT_CODES[diagnosis.health];
}

function text(seen: Survey, diagnosis: Diagnosis): string {
  const lines = seen.members.length === 0 ? [] : [tableText(COLUMNS, seen.members.map(rowOf)), ""];
  for (const { severity, text } of diagnosis.findings) {
    lines.push(`${SEVERITIES[severity]}: ${text}`);
  }
  const { voters, survives } = diagnosis.quorum;
  if (diagnosis.health === "healthy") {
    const failures = survives === 0 ? "no failure" : survives === 1 ? "1 failure" : `${survives} failures`;
    lines.push(
      `Everything is well: ${diagnosis.leader!.name} leads ${voters === 1 ? "alone" : `${voters} voting members`}; the cluster survives ${failures}.`,
    );
  }
  return `${lines.join("\n")}\n`;
}

const SEVERITIES = { note: "Note", degraded: "Degraded", unknown: "Unknown", down: "DOWN" } as const;

const COLUMNS = [
  "NAME",
  "ID",
  "ENDPOINT",
  "VERSION",
  "ROLE",
  "TERM",
  "INDEX",
  "APPLIED",
  "LAG",
  "DB SIZE",
  "IN USE",
  "ERRORS",
] as const;

function rowOf(member: SurveyedMember): string[] {
  const { status } = member;
  const start = [member.name || "(not started)", idText(member.id), member.endpoint];
  if (status === null) return [...start, "", roleOf(member), "", "", "", "", "", "", member.problem ?? ""];
  const inUse = status.dbSize === 0 ? "" : `${Math.round((100 * status.dbSizeInUse) / status.dbSize)} %`;
  return [
    ...start,
    status.version,
    roleOf(member),
    String(status.raftTerm),
    String(status.raftIndex),
    String(status.raftAppliedIndex),
    String(member.lag),
    sizeText(status.dbSize),
    inUse,
    status.errors.join("; "),
  ];
}

function roleOf({ id, status, isLearner, hasStarted }: SurveyedMember): string {
  if (!hasStarted) return isLearner ? "learner, never started" : "never started";
  if (status === null) return isLearner ? "learner, unreachable" : "unreachable";
  if (isLearner) return "learner";
  return status.leader === id ? "leader" : "follower";
}

function sizeText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toPrecision(2)} ${units[unit]}`;
}

/** Ids are hexadecimal text, as everywhere people meet them: they do not fit a JSON number. */
function jsonText(seen: Survey, { health, findings, leader, quorum }: Diagnosis): string {
  const members = seen.members.map((member) => ({
    name: member.name,
    id: idText(member.id),
    endpoint: member.endpoint,
    role: roleOf(member),
    isLearner: member.isLearner,
    isReachable: member.status !== null,
    problem: member.problem,
    lag: member.lag,
    ...(member.status === null
      ? {}
      : {
          version: member.status.version,
          leader: idText(member.status.leader),
          raftTerm: member.status.raftTerm,
          raftIndex: member.status.raftIndex,
          raftAppliedIndex: member.status.raftAppliedIndex,
          dbSizeBytes: member.status.dbSize,
          dbSizeInUseBytes: member.status.dbSizeInUse,
          dbSizeQuotaBytes: member.status.dbSizeQuota,
          errors: member.status.errors,
        }),
  }));
  const clusterId = seen.clusterId === null ? null : idText(seen.clusterId);
  const leaderId = leader === null ? null : idText(leader.id);
  return `${JSON.stringify({ health, clusterId, leader: leaderId, quorum, members, findings }, null, 2)}\n`;
}

/** Throws {@link UsageError}. */
function credentialsOf(values: OptionValues): Credentials {
  const user = setting(values, "user");
  const colon = user?.indexOf(":") ?? -1;
  const password = setting(values, "password") ?? (colon < 0 ? undefined : user!.slice(colon + 1));
  if (user !== undefined && password === undefined)
    throw new UsageError("--user needs a password: NAME:PASSWORD or --password");
  return {
    authority: fileOf(values, "cacert"),
    certificate: fileOf(values, "cert"),
    key: fileOf(values, "key"),
    checksServer: values["insecure-skip-tls-verify"] !== true,
    user: user === undefined ? undefined : { name: colon < 0 ? user : user.slice(0, colon), password: password! },
  };
}

function fileOf(values: OptionValues, name: string): Buffer | undefined {
  const path = setting(values, name);
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new UsageError(`--${name}: ${(error as Error).message}`, { cause: error });
  }
}

/** A flag, else etcdctl's variable for it. */
function setting(values: OptionValues, name: string): string | undefined {
  return textOf(values, name) ?? (process.env[`ETCDCTL_${name.toUpperCase()}`] || undefined);
}

function addressOf(text: string, isTls: boolean): ReturnType<typeof parseAddress> {
  try {
    return parseAddress(text.trim(), isTls);
  } catch (error) {
    if (!(error instanceof BadAddress)) throw error;
    throw new UsageError(error.message, { cause: error });
  }
}
