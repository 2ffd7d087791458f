// Asks @sigstore/verify: reads a list of cases as JSON, writes a list of verdicts.
//
// A case: { bundle, root, artifact, key, identity, issuer }, where artifact and key are base64; no
// artifact stands for a statement. A verdict: empty if the bundle was verified, otherwise the error.

import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { bundleFromJSON } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { Verifier, toSignedEntity, toTrustMaterial } from "@sigstore/verify";

function managed(key) {
  const der = Buffer.from(key, "base64");
  const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
  return () => ({ publicKey, validFor: () => true });
}

function literal(text) {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);
}

function verdict({ bundle, root, artifact, key, identity, issuer }) {
  try {
    const trust = toTrustMaterial(TrustedRoot.fromJSON(root), key ? managed(key) : undefined);
    const bytes = artifact === undefined ? undefined : Buffer.from(artifact, "base64");
    const entity = toSignedEntity(bundleFromJSON(bundle), bytes);
    const options = { tlogThreshold: 1, ctlogThreshold: key ? 0 : 1, timestampThreshold: key ? 0 : 1 };
    const policy = key
      ? undefined
      : { subjectAlternativeName: literal(identity), extensions: { issuer } };
    new Verifier(trust, options).verify(entity, policy);
    return "";
  } catch (error) {
    return `${error.code ?? error.name}: ${error.message}`;
  }
}

const cases = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(cases.map(verdict)));
