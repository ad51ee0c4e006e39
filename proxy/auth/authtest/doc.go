// Package authtest holds the conformance suites of the contracts that package auth declares.
//
// Each suite takes a function that opens a fresh implementation and tests every clause of the contract on it, so that
// adapters differ in speed and never in meaning. An adapter's own tests cover only what is particular to it.
package authtest
