// Is a C2SP witness, or asks one, with what transparency-dev wrote for both.
//
// witness serve NAME LOG: cosigns the log with this verifier key, in memory, with an Ed25519 key and
// an ML-DSA-44 key. Says its address and its two verifier keys, each on a line of its own.
//
// witness ask URL LOG WITNESS: reads lines of JSON {"old", "checkpoint", "proof"}, and writes for each
// a line {"signatures", "verified", "size", "error"}; verified are lines by the two verifier keys.
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"

	fnote "github.com/transparency-dev/formats/note"
	client "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

type question struct {
	Old        uint64   `json:"old"`
	Checkpoint []byte   `json:"checkpoint"`
	Proof      [][]byte `json:"proof"`
}

type answer struct {
	Signatures []byte `json:"signatures"`
	Verified   int    `json:"verified"`
	Size       uint64 `json:"size"`
	Error      string `json:"error"`
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// signers makes two keys of one name; the verifier keys are those of cosigners.
func signers(name string) ([]note.Signer, []string) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	seed := base64.StdEncoding.EncodeToString(append([]byte{1}, private.Seed()...))
	small := must(fnote.NewSignerForCosignatureV1(fmt.Sprintf("PRIVATE+KEY+%s+00000000+%s", name, seed)))
	written := base64.StdEncoding.EncodeToString(append([]byte{4}, public...))
	secret, vkey, err := fnote.GenerateMLDSAKey(name)
	if err != nil {
		log.Fatal(err)
	}
	large := must(fnote.NewMLDSASigner(secret))
	smallKey := fmt.Sprintf("%s+%08x+%s", name, small.KeyHash(), written)
	return []note.Signer{small, large}, []string{smallKey, vkey}
}

func serve(name, logKey string) {
	verifier := must(note.NewVerifier(logKey))
	keys, written := signers(name)
	made := must(witness.New(context.Background(), witness.Opts{
		Persistence: inmemory.New(),
		Signers:     keys,
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return verifier, origin == verifier.Name(), nil
		},
	}))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	http.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(made).AddCheckpoint)
	fmt.Printf("http://%s\n%s\n%s\n", listener.Addr(), written[0], written[1])
	log.Fatal(http.Serve(listener, nil))
}

func ask(address, logKey, witnessKey string) {
	keys := note.VerifierList(must(note.NewVerifier(logKey)), must(fnote.NewVerifierForCosignatureV1(witnessKey)))
	asked := client.NewWitness(must(url.Parse(address)), http.DefaultClient)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one question
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			log.Fatal(err)
		}
		said := answer{}
		var err error
		said.Signatures, said.Size, err = asked.Update(context.Background(), one.Old, one.Checkpoint, one.Proof)
		if err != nil {
			said.Error = err.Error()
		} else {
			opened := must(note.Open(append(one.Checkpoint, said.Signatures...), keys))
			said.Verified = len(opened.Sigs)
		}
		fmt.Println(string(must(json.Marshal(said))))
	}
}

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		serve(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "ask":
		ask(os.Args[2], os.Args[3], os.Args[4])
	default:
		log.Fatal("usage: witness serve NAME LOG | witness ask URL LOG WITNESS")
	}
}
