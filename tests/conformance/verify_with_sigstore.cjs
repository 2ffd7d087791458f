// Verifies one bundle with the stock @sigstore/verify: node FILE ROOT BUNDLE ARTIFACT IDENTITY ISSUER
// Exit status: 0 verified, 1 refused, 2 anything else.
"use strict";

const fs = require("node:fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { TrustedRoot } = require("@sigstore/protobuf-specs");
const { PolicyError, VerificationError, Verifier, toSignedEntity, toTrustMaterial } = require(
  "@sigstore/verify",
);

const [root, bundle, artifact, identity, issuer] = process.argv.slice(2);
const read = (path) => JSON.parse(fs.readFileSync(path, "utf8"));

try {
  const parsed = bundleFromJSON(read(bundle));
  const data = parsed.content.$case === "messageSignature" ? fs.readFileSync(artifact) : undefined;
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(read(root))), {
    tlogThreshold: 1,
    ctlogThreshold: 1,
    timestampThreshold: 1,
  });
  verifier.verify(toSignedEntity(parsed, data), {
    subjectAlternativeName: `^${identity.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`,
    extensions: { issuer },
  });
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exit(error instanceof VerificationError || error instanceof PolicyError ? 1 : 2);
}
