// Asks sigstore-go: reads a list of cases as JSON, writes a list of verdicts.
//
// A case: {"bundle", "root", "artifact", "key", "identity", "issuer"}, where artifact and key are
// base64; no artifact stands for a statement. A verdict: empty if the bundle was verified, otherwise
// the error.
package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

type request struct {
	Bundle   json.RawMessage `json:"bundle"`
	Root     json.RawMessage `json:"root"`
	Artifact []byte          `json:"artifact"`
	Key      []byte          `json:"key"`
	Identity string          `json:"identity"`
	Issuer   string          `json:"issuer"`
}

// managedKey is believed at any time: it has no certificate that could say when.
type managedKey struct {
	signature.Verifier
}

func (managedKey) ValidAtTime(time.Time) bool { return true }

func (asked request) keyVerifier() (verify.PolicyOption, root.TrustedMaterial, error) {
	public, err := x509.ParsePKIXPublicKey(asked.Key)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, nil, err
	}
	find := func(string) (root.TimeConstrainedVerifier, error) { return managedKey{verifier}, nil }
	return verify.WithKey(), root.NewTrustedPublicKeyMaterial(find), nil
}

func (asked request) judge() error {
	var parsed bundle.Bundle
	if err := parsed.UnmarshalJSON(asked.Bundle); err != nil {
		return err
	}
	trusted, err := root.NewTrustedRootFromJSON(asked.Root)
	if err != nil {
		return err
	}
	material := root.TrustedMaterialCollection{trusted}
	options := []verify.VerifierOption{verify.WithTransparencyLog(1)}
	var who verify.PolicyOption
	if asked.Key != nil {
		policy, key, err := asked.keyVerifier()
		if err != nil {
			return err
		}
		who, material = policy, append(material, key)
		options = append(options, verify.WithNoObserverTimestamps())
	} else {
		identity, err := verify.NewShortCertificateIdentity(asked.Issuer, "", asked.Identity, "")
		if err != nil {
			return err
		}
		who = verify.WithCertificateIdentity(identity)
		options = append(options, verify.WithSignedTimestamps(1), verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(material, options...)
	if err != nil {
		return err
	}
	artifact := verify.WithoutArtifactUnsafe()
	if asked.Artifact != nil {
		artifact = verify.WithArtifact(bytes.NewReader(asked.Artifact))
	}
	_, err = verifier.Verify(&parsed, verify.NewPolicy(artifact, who))
	return err
}

func main() {
	var cases []request
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	verdicts := make([]string, len(cases))
	for number, asked := range cases {
		if err := asked.judge(); err != nil {
			verdicts[number] = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
