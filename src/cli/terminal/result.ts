import type { Decrypted } from '../../ckks/wire/reply.ts';
import { bar, formatShare, round } from '../../measure/format.ts';
import { byClass, type Classes, MEANINGS, NOT_A_DEVICE } from '../../model/classes.ts';
import { classify, softmax } from '../../model/classify.ts';
import { DISCLOSURE, disclose } from '../../model/disclose.ts';
import type { Colours } from './io.ts';
import { right, table } from './table.ts';
import { drawEvidence, type Evidence } from './trace-drawing.ts';

/**
 * Decimals of printed scores. The noise of a decrypted score depends on the secret key (Li & Micciancio
 * 2020), so it is rounded away; probabilities are made of the rounded scores, or they would bring it back.
 */
const DIGITS = { json: 3, text: 2 };

/** Class, scores and probabilities for --json, rounded unless `exact`. */
export function resultJson({ scores, map }: Decrypted, classes: Classes, exact = false) {
  const shown = exact ? scores : scores.map((s) => round(s, DIGITS.json));
  return {
    class: classify(scores, classes).name,
    scores: byClass(shown, classes),
    probabilities: byClass(
      Array.from(softmax(shown), (p) => round(p, 6)),
      classes,
    ),
    ...(map && { map: exact ? map : map.map((window) => window.map((s) => round(s, DIGITS.json))) }),
  };
}

/** The class in words, a table of all classes, and the disclaimer. */
export function resultLines(
  { scores }: Decrypted,
  classes: Classes,
  colours: Colours,
  exact = false,
): string[] {
  const { index, name } = classify(scores, classes);
  const shown = exact ? scores : scores.map((s) => round(s, DIGITS.text));
  const probabilities = softmax(shown);
  const title = [name, MEANINGS[name]].filter((part) => part !== undefined).join('  ');
  const rows = classes.classes.map((c, i) => {
    const row = [
      c,
      MEANINGS[c] ?? '',
      exact ? String(shown[i]) : shown[i].toFixed(DIGITS.text),
      formatShare(probabilities[i]),
      colours.cyan(bar(probabilities[i], 20)),
    ];
    return i === index ? row.map((cell) => colours.bold(cell)) : row;
  });
  const columns = [{ title: 'class' }, { title: '' }, right('score'), right('probability'), { title: '' }];
  return [
    `  ${colours.bold(colours.green(title))}  ${formatShare(probabilities[index])}`,
    '',
    ...table(columns, rows, colours),
    '',
    `  ${colours.dim(NOT_A_DEVICE)}`,
  ];
}

/** What a report to others may hold, for --json: nothing else of the answer, no times, no sizes. */
export function disclosureJson({ scores }: Decrypted, classes: Classes) {
  const { noise, step } = DISCLOSURE;
  return { ...disclose(scores, classes), disclosed: { noise, step } };
}

/** The same for people. */
export function disclosureLines({ scores }: Decrypted, classes: Classes, colours: Colours): string[] {
  const { class: name, probability } = disclose(scores, classes);
  const { noise, step } = DISCLOSURE;
  const title = [name, MEANINGS[name]].filter((part) => part !== undefined).join('  ');
  return [
    `  ${colours.bold(colours.green(title))}  about ${Math.round(100 * probability)} %`,
    '',
    `  ${colours.dim(`for a report: noise of ${noise} on every score, steps of ${step}; print it once`)}`,
    `  ${colours.dim(NOT_A_DEVICE)}`,
  ];
}

/** Without the ECG at hand: one line for the whole segment. Nothing if no map was planned. */
export function evidenceLines(
  decrypted: Decrypted,
  manifest: Classes & { preprocessing: { seconds: number } },
  colours: Colours,
): string[] {
  const evidence = evidenceOf(decrypted, manifest);
  if (!evidence) return [];
  const { seconds } = manifest.preprocessing;
  const width = 60;
  return [
    `  ${colours.dim(`evidence for ${evidence.label}, 0 s to ${seconds} s of the segment`)}`,
    `  ${colours.yellow(drawEvidence(evidence, 0, 1, width))}`,
    '',
  ];
}

/**
 * How far each window speaks for the named class rather than the best other one, as shares of the strongest.
 * Nothing if no map was planned.
 */
export function evidenceOf({ scores, map }: Decrypted, classes: Classes): Evidence | undefined {
  if (!map) return undefined;
  const { index, name } = classify(scores, classes);
  const leads = map.map((window) => window[index] - Math.max(...window.filter((_, c) => c !== index)));
  const most = Math.max(...leads);
  return { label: name, strength: leads.map((lead) => (most > 0 ? Math.max(0, lead) / most : 0)) };
}
