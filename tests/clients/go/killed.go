// A client that is killed in the middle of its work.

package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
)

// killedAfterItsFirstLine runs this program with these arguments and kills it when it has said a line, which is returned.
func killedAfterItsFirstLine(arguments ...string) (string, error) {
	child := exec.Command(os.Args[0], arguments...)
	child.Stderr = os.Stderr
	output, err := child.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := child.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	err = errors.Join(err, child.Process.Kill())
	_ = child.Wait()
	return strings.TrimSpace(line), err
}
