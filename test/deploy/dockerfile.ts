/** One instruction of a Dockerfile, its continued lines joined. */
export interface Instruction {
  name: string;
  /** All after the name. */
  rest: string;
}

/** A FROM and what follows it. */
export interface Stage {
  name: string | null;
  instructions: Instruction[];
}

/** The stages of a Dockerfile, comments left out. */
export function parseDockerfile(text: string): Stage[] {
  const stages: Stage[] = [];
  const lines = text
    .replace(/^\s*#.*\n/gm, '')
    .replace(/\\\n/g, ' ')
    .split('\n');
  for (const line of lines) {
    const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    if (name === undefined || rest === undefined) continue;
    if (name === 'FROM') stages.push({ name: / AS (\S+)$/.exec(rest)?.[1] ?? null, instructions: [] });
    else stages.at(-1)!.instructions.push({ name, rest });
  }
  return stages;
}

/** The argument vector of CMD or HEALTHCHECK CMD in its exec form. */
export function execForm(instruction: Instruction): string[] {
  return JSON.parse(instruction.rest.slice(instruction.rest.indexOf('['))) as string[];
}
